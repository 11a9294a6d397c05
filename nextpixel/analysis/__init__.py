"""What a model leaks, sees and expects, and what its condition is worth."""
