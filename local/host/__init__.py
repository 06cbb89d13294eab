"""A language host for Python programs, for machines whose Pulumi engine came without the official one."""
