"""RDS' API in front of the databases of this machine: the same servers and copies that the program makes."""
