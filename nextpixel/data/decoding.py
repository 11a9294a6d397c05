"""What plain decoders of pictures leave undone: orientation, channels, and grey of many depths."""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextpixel.data.errors import ImageError

__all__ = ["convert", "grey_samples", "natural_channels", "orientation", "upright"]

_BLOCK_PIXELS = 2**20
_GREY_MODES = {"1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION = 0x0112


def orientation(picture: Image.Image) -> int:
    """Find the EXIF orientation 1 ... 8 that reading must still apply."""
    # Pillow turns TIFF by itself; for PNG, `getexif` would decode all the pixels to look behind
    # them.
    if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
        return 1
    try:
        turn = picture.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
        return 1  # Damaged metadata says nothing of the orientation, and the pixels may be sound.
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def upright(x: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation to an array (C, H, W)."""
    if turn >= 5:
        x = x.swapaxes(1, 2)
    if turn in (3, 4, 7, 8):
        x = x[:, ::-1]
    if turn in (2, 3, 6, 7):
        x = x[:, :, ::-1]
    return x


def natural_channels(picture: Image.Image) -> int:
    """Find how many channels a picture has: 1, 3 or 4; a palette counts by its colours."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return 1
    if picture.has_transparency_data:
        return 4
    if picture.mode == "P":
        red, green, blue = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3).T
        return 1 if (red == green).all() and (green == blue).all() else 3
    return 1 if picture.mode in _GREY_MODES else 3


def grey_samples(picture: Image.Image) -> NDArray[np.uint8]:
    """Read a grey picture as integers 0 ... 255 (H, W)."""
    if picture.mode == "F":
        raise ImageError(
            "holds floating-point samples, whose range is unknown; convert it to 8 or 16 bits"
        )
    if not picture.mode.startswith("I"):
        return np.asarray(picture.convert("L"))
    samples = np.asarray(picture)
    if samples.min() < 0 or samples.max() > 65535:
        raise ImageError(
            f"holds samples from {samples.min()} to {samples.max()}, beyond 16 bits; convert it to"
            " 8 or 16 bits"
        )
    return (samples >> 8).astype(np.uint8)


def convert(x: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Convert an array (C, H, W) to other channels.

    By blocks of rows, because meanwhile each sub-pixel takes up to four bytes.
    """
    if len(x) == channels:
        return x
    result = np.empty((channels, *x.shape[1:]), np.uint8)
    step = max(1, _BLOCK_PIXELS // x.shape[2])
    for begin in range(0, x.shape[1], step):
        rows = slice(begin, begin + step)
        result[:, rows] = _converted(x[:, rows], channels)
    return result


def _converted(x: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if len(x) == 4:
        alpha = x[3].astype(np.uint16)
        x = ((x[:3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if channels == 1 and len(x) == 3:
        red, green, blue = x.astype(np.uint32)
        x = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[None]
    if channels >= 3 and len(x) == 1:
        x = np.repeat(x, 3, axis=0)
    if channels == 4:
        x = np.concatenate([x, np.full_like(x[:1], 255)])
    return x
