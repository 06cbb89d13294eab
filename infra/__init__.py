"""The Pulumi program: settings in, one stack of components out."""
