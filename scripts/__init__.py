"""The commands: each observes what is there, plans, and applies; fed by the outputs of a stack alone."""
