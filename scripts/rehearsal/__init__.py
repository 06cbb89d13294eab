"""A whole migration on one machine: shop, load, ledger, report."""
