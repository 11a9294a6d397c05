"""What a model is conditioned on, and the values of a batch."""
