"""Layers that see only the past, and the pieces they are made of."""
