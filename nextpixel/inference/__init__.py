"""Use a trained model: evaluate, sample, complete, reconstruct, interpolate, inspect."""
