"""What the program and the commands agree on. Pure: imports nothing else of this project and does no I/O."""
