"""The local cloud's provider plugins: the engine's protocol on one side, real parts of this machine on the other."""
