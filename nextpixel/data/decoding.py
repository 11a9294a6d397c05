"""What plain decoders of pictures leave undone: orientation, channels, and grey of many depths."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextpixel.data.errors import ImageError

__all__ = [
    "ImageHead",
    "convert",
    "grey_samples",
    "has_deep_colours",
    "image_head",
    "natural_channels",
    "orientation",
    "upright",
]

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


def upright(x: NDArray[Any], turn: int) -> NDArray[Any]:
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


@dataclass(frozen=True)
class ImageHead:
    """What is known of a picture before it is decoded.

    Attributes:
        shape: (C, H, W) of its pixels, upright.
        page: Its number in the file.
        levels: 256, fewer for grey of fewer bits, or None for samples of 16 bits, whose values must
            tell.
        has_bands: Whether its channels are bands of a TIFF file.
        only_upper: Whether its colours have 16 bits, and only the upper 8 can be read.
        frames: The number of frames of an animation, of which the first is read.
        depth: The number of levels that the file states for values of 16 bits, or None.
        signed_bits: 16 or 32 if values may be negative, else 0.
        real: Whether values are floating-point numbers.
        nodata: The value of pixels without data, as the file states it, or None.
        notes: What must be said of how it is read.
    """

    shape: tuple[int, int, int]
    page: int = 0
    levels: int | None = 256
    has_bands: bool = False
    only_upper: bool = False
    frames: int = 1
    depth: int | None = None
    signed_bits: int = 0
    real: bool = False
    nodata: str | None = None
    notes: tuple[str, ...] = ()


def image_head(picture: Image.Image, *, page: int, reading: int) -> ImageHead:
    """Describe an opened picture."""
    width, height = picture.size
    if orientation(picture) >= 5:
        width, height = height, width
    channels, levels = natural_channels(picture), 256
    shape = channels, height, width
    if reading == 1:
        return ImageHead(shape, page)
    animated = picture.format not in ("TIFF", "MPO") and getattr(picture, "is_animated", False)
    frames = int(getattr(picture, "n_frames", 1)) if animated else 1
    if channels > 1:
        notes = ("CMYK colours are converted to RGB",) if picture.mode == "CMYK" else ()
        deep = has_deep_colours(picture)
        return ImageHead(shape, page, only_upper=deep, frames=frames, notes=notes)
    if picture.mode.startswith("I"):
        return ImageHead(shape, page, None, frames=frames)
    if picture.mode == "1":
        levels = 2
    elif picture.mode == "L":
        levels = {"L;2": 4, "L;4": 16}.get(_raw_mode(picture), 256)
    return ImageHead(shape, page, levels, frames=frames)


def has_deep_colours(picture: Image.Image) -> bool:
    """Tell whether a picture that is not yet decoded has colours of 16 bits."""
    return ";16" in _raw_mode(picture) and not picture.mode.startswith("I")


def _raw_mode(picture: Image.Image) -> str:
    """How the samples lie in the file, as Pillow calls it."""
    tiles = getattr(picture, "tile", None) or []
    options = tiles[0][3] if tiles else None
    first = options[0] if isinstance(options, tuple) and options else options
    return first if isinstance(first, str) else ""


def grey_samples(picture: Image.Image, *, upper_byte: bool = False) -> NDArray[Any]:
    """Read a grey picture as integers (H, W), 0 ... 255 or, of more bits, as they are stored.

    Args:
        picture: An opened picture.
        upper_byte: Whether to keep only the upper byte of 16 bits.
    """
    if picture.mode == "F":
        raise ImageError(
            "holds floating-point samples, whose range is unknown; convert it to 8 or 16 bits"
        )
    if not picture.mode.startswith("I"):
        return np.asarray(picture.convert("L"))
    most = _graymap_maximum(picture)
    samples = np.asarray(picture)
    if samples.min() < 0 or samples.max() > 65535:
        raise ImageError(
            f"holds samples from {samples.min()} to {samples.max()}, beyond 16 bits; convert it to"
            " 8 or 16 bits"
        )
    if upper_byte:
        return (samples >> 8).astype(np.uint8)
    if most < 65535:
        # Pillow has stretched 0 ... most to 0 ... 65535; this is what it stretched.
        samples = (samples.astype(np.uint64) * most + 32767) // 65535
    return samples.astype(np.uint16)


def _graymap_maximum(picture: Image.Image) -> int:
    """The highest value that the head of a PGM file allows; 65535 for other pictures."""
    tiles = getattr(picture, "tile", None) or []
    options = tiles[0][3] if tiles else None
    if picture.format != "PPM" or not isinstance(options, tuple):
        return 65535
    return next((value for value in options if isinstance(value, int) and value > 255), 65535)


def convert(x: NDArray[Any], channels: int) -> NDArray[Any]:
    """Convert an array (C, H, W) to other channels.

    By blocks of rows, because meanwhile each sub-pixel takes up to four bytes.
    """
    if len(x) == channels:
        return x
    result = np.empty((channels, *x.shape[1:]), x.dtype)
    step = max(1, _BLOCK_PIXELS // x.shape[2])
    for begin in range(0, x.shape[1], step):
        rows = slice(begin, begin + step)
        result[:, rows] = _converted(x[:, rows], channels)
    return result


def _converted(x: NDArray[Any], channels: int) -> NDArray[Any]:
    if len(x) == 4:
        alpha = x[3].astype(np.uint16)
        x = ((x[:3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if channels == 1 and len(x) == 3:
        dtype = x.dtype
        red, green, blue = x.astype(np.uint32)
        x = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(dtype)[None]
    if channels >= 3 and len(x) == 1:
        x = np.repeat(x, 3, axis=0)
    if channels == 4:
        x = np.concatenate([x, np.full_like(x[:1], 255)])
    return x
