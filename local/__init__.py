"""The local cloud: provider plugins that realise the program with real parts on one machine."""
