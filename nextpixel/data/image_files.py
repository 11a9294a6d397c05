"""Pictures <-> integers: the only border between image files and arrays of levels.

An image is an array (C, H, W) of integers 0 ... levels-1: uint8, or uint16 when there are more than
256 levels. Files are read with 256 levels (16-bit samples keep their upper 8 bits); fewer are made
by `nextpixel.data.pixels`. Channels are grey (1), red-green-blue (3) or red-green-blue-opacity
(4).

What reading does that a plain decoder does not: the EXIF orientation of a photograph is applied,
palettes, CMYK and 1-bit pictures become grey or RGB, transparent pixels are laid on white where
opacity is not wanted, and whatever is wrong with a file is one `ImageError` that names it. Of
animations and stacks, the first frame is read. Colour profiles are not applied.
"""

import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nextpixel.data.errors import ImageError
from nextpixel.data.pixels import Integers, within

__all__ = [
    "grid",
    "image_shape",
    "read_image",
    "read_indices",
    "to_uint8",
    "write_gif",
    "write_image",
]

PictureFile: TypeAlias = str | Path | io.BytesIO | io.BufferedReader

_GREY_MODES = {"1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION = 0x0112


def read_image(
    path: PictureFile, *, channels: int | None = None, name: str | None = None
) -> NDArray[np.uint8]:
    """Read one picture as integers 0 ... 255.

    Args:
        path: A file of any format that Pillow reads, or an open binary file.
        channels: 1, 3 or 4 to convert; None keeps what the file has: grey 1, colours 3, either with
            opacity 4 (a palette counts by its colours). Colours become grey by ITU-R 601 luma;
            transparent pixels are laid on white where opacity is not wanted.
        name: What errors call the picture; the path if None.

    Returns:
        An array (C, H, W), upright as the EXIF orientation says.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If the file is no picture, is damaged or truncated, or holds floating-point
            samples.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("CMYK", (5, 2)).save(file, "JPEG")
        >>> read_image(file).shape, read_image(file, channels=1).shape
        ((3, 2, 5), (1, 2, 5))
    """
    if channels not in (None, 1, 3, 4):
        raise ImageError(
            f"‹channels={channels}› must be 1 (grey), 3 (RGB) or 4 (RGBA) for pictures"
        )
    with _opened(path, name) as picture:
        turn = _orientation(picture)
        natural = _natural_channels(picture)
        if natural == 1:
            x = _grey_samples(picture)[None]
        else:
            mode = "RGB" if natural == 3 else "RGBA"
            x = np.moveaxis(
                np.asarray(picture if picture.mode == mode else picture.convert(mode)), 2, 0
            )
    return np.ascontiguousarray(_upright(_convert(x, channels or natural), turn))


def read_indices(path: PictureFile, *, name: str | None = None) -> NDArray[np.uint8] | None:
    """Read a picture with a palette as the numbers of its colours, (1, H, W); None if it has no
    palette.

    So segments are stored: the numbers are their names, and the colours are only for showing.

    Args:
        path: As for `read_image`, which raises the same errors.
        name: What errors call the picture; the path if None.
    """
    with _opened(path, name) as picture:
        if picture.mode != "P":
            return None
        turn, x = _orientation(picture), np.asarray(picture)[None]
    return np.ascontiguousarray(_upright(x, turn))


def image_shape(path: PictureFile, *, name: str | None = None) -> tuple[int, int, int]:
    """Find (C, H, W) that `read_image` would return, from the head of the file alone."""
    with _opened(path, name) as picture:
        width, height = picture.size
        if _orientation(picture) >= 5:
            width, height = height, width
        return _natural_channels(picture), height, width


def write_image(path: str | Path, x: Any, *, levels: int = 256) -> None:
    """Write an image in the format that the path's suffix names, levels spread over 0 ... 255.

    Args:
        path: The file, for example ``picture.png``; only lossless formats keep the exact values.
        x: Integers (C, H, W) or (H, W), anything that numpy converts (also a tensor on the CPU). 1,
            3 and 4 channels are grey, RGB and RGBA; any other number is shown as grey pictures side
            by side.
        levels: The number of levels of x.

    Raises:
        ImageError: If x is not such an image, or the format cannot hold it.
    """
    picture = _as_picture(x, levels)
    try:
        picture.save(path)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        raise ImageError(
            f"{path}: cannot be written ({error}); a name that ends in .png always works"
        ) from error


def write_gif(
    path: str | Path, frames: Any, *, levels: int = 256, scale: int = 1, seconds: int | float = 0.1
) -> None:
    """Write images (C, H, W) of one size as an animation that repeats for ever.

    Args:
        path: The file, which should end in ``.gif``.
        frames: The images, an array (N, C, H, W) or a sequence, shown one after the other.
        levels: Their number of levels.
        scale: Every pixel becomes a square of so many pixels.
        seconds: How long each frame is shown; the format counts in hundredths.
    """
    if len(frames) == 0:
        raise ImageError("frames is empty, but an animation needs at least one image")
    pictures = [
        _as_picture(_enlarge(to_uint8(_image(frame), levels), scale), 256) for frame in frames
    ]
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * seconds),
        loop=0,
    )


def to_uint8(x: Any, levels: int = 256) -> NDArray[np.uint8]:
    """Spread levels 0 ... levels-1 evenly over 0 ... 255, for showing: 0 stays black, levels-1
    becomes white.
    """
    values = within(x, levels)
    return np.asarray(
        values if levels == 256 else np.rint(values * (255 / (levels - 1))), dtype=np.uint8
    )


def grid(
    images: Any,
    *,
    columns: int | None = None,
    padding: int = 1,
    levels: int = 256,
    scale: int = 1,
    background: int = 255,
) -> NDArray[np.uint8]:
    """Arrange images in rows and columns, one image for showing.

    Args:
        images: (N, C, H, W) integers, or N images (C, H, W) of one size.
        columns: Images a row; as square as possible if None.
        padding: Pixels between images and around them.
        levels: The number of levels of the images.
        scale: Every pixel becomes a square of so many pixels, before padding.
        background: The value of what no image covers, 0 ... 255.

    Returns:
        (C, H', W') with 256 levels.

    Example:
        >>> grid(np.ones((3, 1, 2, 2), dtype=np.uint8), columns=2, levels=2, background=0).shape
        (1, 7, 7)
    """
    stack = (
        np.asarray(images)
        if hasattr(images, "shape")
        else np.stack([np.asarray(image) for image in images])
    )
    if stack.ndim != 4 or len(stack) == 0:
        raise ImageError(
            f"images must be (N, C, H, W) with at least one image, not of shape {stack.shape}"
        )
    tiles = _enlarge(to_uint8(stack, levels), scale)
    count, channels, height, width = tiles.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    columns = min(columns, count)
    down, right = height + padding, width + padding
    sheet = np.full(
        (channels, rows * down + padding, columns * right + padding), background, np.uint8
    )
    for k, tile in enumerate(tiles):
        top, left = padding + k // columns * down, padding + k % columns * right
        sheet[:, top : top + height, left : left + width] = tile
    return sheet


@contextmanager
def _opened(source: PictureFile, name: str | None) -> Iterator[Image.Image]:
    if isinstance(source, str | Path) and not Path(source).exists():
        raise FileNotFoundError(f"{source}: there is no such picture")
    name = name or str(
        source if isinstance(source, str | Path) else getattr(source, "name", "the picture")
    )
    try:
        with Image.open(source) as picture:
            yield picture
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: cannot be read as a picture (unknown or damaged format); remove it"
        ) from error
    except Exception as error:  # Decoders raise every kind of exception on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{name}: cannot be read as a picture ({reason}); repair it or remove it"
        ) from error


def _orientation(picture: Image.Image) -> int:
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


def _upright(x: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    if turn >= 5:
        x = x.swapaxes(1, 2)
    if turn in (3, 4, 7, 8):
        x = x[:, ::-1]
    if turn in (2, 3, 6, 7):
        x = x[:, :, ::-1]
    return x


def _natural_channels(picture: Image.Image) -> int:
    if picture.mode.startswith("I") or picture.mode == "F":
        return 1
    if picture.has_transparency_data:
        return 4
    if picture.mode == "P":
        red, green, blue = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3).T
        return 1 if (red == green).all() and (green == blue).all() else 3
    return 1 if picture.mode in _GREY_MODES else 3


def _grey_samples(picture: Image.Image) -> NDArray[np.uint8]:
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


def _convert(x: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if len(x) == channels:
        return x
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


def _image(x: Any) -> Integers:
    image: Integers = np.asarray(x)
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or image.size == 0:
        raise ImageError(
            f"an image must be (C, H, W) or (H, W) and not empty, not of shape {image.shape}"
        )
    return image


def _as_picture(x: Any, levels: int) -> Image.Image:
    x = to_uint8(_image(x), levels)
    if len(x) not in (1, 3, 4):
        x = grid(x[:, None], columns=len(x))
    return Image.fromarray(np.ascontiguousarray(x[0] if len(x) == 1 else np.moveaxis(x, 0, 2)))


def _enlarge(x: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return x.repeat(scale, axis=-2).repeat(scale, axis=-1)
