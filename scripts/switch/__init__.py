"""Commands about who serves and who writes: accounts, traffic, gate, cutover."""
