"""What a model leaks, sees and predicts, and what its condition is worth."""
