"""What can be wrong with images and with the files that hold them."""

from nextpixel.errors import UsageError

__all__ = ["DataError", "ImageError"]


class DataError(UsageError):
    """A source of images that cannot be used as it is; the message says what to do."""


class ImageError(UsageError):
    """A picture that cannot be read or written, or an array that is not an image."""
