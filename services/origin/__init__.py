"""What every origin shares: settings, a fenced database, HTTP around it, metrics and the server."""
