"""Images and their annotations: read from a source, prepared and split."""
