"""The models: each a conditional distribution of the next sub-pixel given all earlier ones."""
