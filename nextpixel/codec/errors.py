"""What is wrong with compressed data."""

from nextpixel.errors import UsageError

__all__ = ["CodecError"]


class CodecError(UsageError):
    """Compressed data cannot be decoded: it is damaged, foreign, newer or of another model."""
