"""The parts a stack is made of. Each is one component with typed arguments and outputs; none knows which cloud runs it."""
