"""The lag probe: how late the target is, by table, for Prometheus and CloudWatch."""
