"""Files: replaced whole, tensors with what they say, and typed fields of JSON."""
