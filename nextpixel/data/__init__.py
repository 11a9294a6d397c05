"""Sources of images, and what accompanies them: read, prepared and split."""
