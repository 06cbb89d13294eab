"""Commands about rows: schema, counts, checks, lag."""
