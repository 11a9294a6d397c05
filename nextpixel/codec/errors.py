"""What is wrong with compressed data."""

__all__ = ["CodecError"]


class CodecError(ValueError):
    """Compressed data cannot be decoded: it is damaged, foreign, newer or of another model."""
