"""The provider plugins of the local cloud: the engine's protocol on one side, real parts of this machine on the other."""
