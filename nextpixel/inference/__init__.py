"""What is done with a trained model: evaluate, sample, complete, reconstruct, interpolate, inspect."""
