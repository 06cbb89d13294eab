"""The router as nginx: the same buckets, flag and promises as the Worker, for a shop without Workers."""
