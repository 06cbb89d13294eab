"""The parts a stack is made of: components with typed arguments and outputs. None knows which cloud runs it."""
