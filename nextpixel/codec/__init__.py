"""Lossless compression of images by a model: exact on every machine."""
