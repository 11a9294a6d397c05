"""Training: the loop, its configuration, and run folders."""
