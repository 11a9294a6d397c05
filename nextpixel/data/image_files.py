"""Pictures <-> integers: the only border between image files and arrays of levels.

An image is an array (C, H, W) of integers 0 ... levels-1: uint8, or uint16 when there are more than
256 levels. Files are read with 256 levels, or with the integers of 16 bits that they hold; fewer
are made by `nextpixel.data.pixels`. Channels are grey (1), red-green-blue (3),
red-green-blue-opacity (4), or the bands of a TIFF file.

What reading does that a plain decoder does not: the EXIF orientation of a photograph is applied,
palettes, CMYK and 1-bit pictures become grey or RGB, transparent pixels are laid on white where
opacity is not wanted, and whatever is wrong with a file is one `ImageError` that names it. Of
animations the first frame is read; the pages of a TIFF file are pictures. Colour profiles are not
applied.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nextpixel.data.errors import ImageError
from nextpixel.data.pixels import Integers, within
from nextpixel.data.reading import (
    MOST_PIXELS,
    image_heads,
    image_shape,
    read_image,
    read_indices,
    taking_turns,
)
from nextpixel.errors import UsageError
from nextpixel.files.replacing import replace_file

__all__ = [
    "MOST_PIXELS",
    "grid",
    "image_heads",
    "image_shape",
    "is_written_here",
    "read_image",
    "read_indices",
    "taking_turns",
    "to_uint8",
    "write_gif",
    "write_image",
]


def write_image(
    path: str | Path, x: Any, *, levels: int = 256, software: str | None = None
) -> None:
    """Write an image in the format that the path's suffix names, levels spread over 0 ... 255.

    Args:
        path: The file, for example ``picture.png``; only lossless formats keep the exact values.
        x: Integers (C, H, W) or (H, W), anything that numpy converts (also a tensor on the CPU). 1,
            3 and 4 channels are grey, RGB and RGBA; any other number is shown as grey pictures side
            by side.
        levels: The number of levels of x.
        software: What a PNG file says that it was written with, see `is_written_here`.

    Raises:
        ImageError: If x is not such an image, or the format cannot hold it.
        OSError: If the disk is full, or the like.
    """
    picture = _as_picture(x, levels)
    try:
        with replace_file(path, to_disk=False) as place:
            if software is None:
                picture.save(place)
            else:
                info = PngInfo()
                info.add_text("Software", software)
                picture.save(place, pnginfo=info)
    except (FileNotFoundError, UsageError):
        raise
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
            raise
        raise ImageError(
            f"{path}: cannot be written ({error}); a name that ends in .png always works"
        ) from error


def is_written_here(path: Path, software: str) -> bool:
    """Whether a file is a PNG picture that says so."""
    if not path.is_file():
        return False
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == software
    except (OSError, ValueError, SyntaxError):
        return False


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
    with replace_file(path) as place:
        pictures[0].save(
            place,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 * seconds),
            loop=0,
        )


def to_uint8(x: Any, levels: int = 256) -> NDArray[np.uint8]:
    """Spread levels 0 ... levels-1 evenly over 0 ... 255, from black to white, for display."""
    values = within(x, levels)
    return np.asarray(
        values if levels == 256 else np.rint(values * (255 / (levels - 1))), dtype=np.uint8
    )


def grid(
    images: Any,
    *,
    columns: int | None = None,
    rows: Sequence[int] = (),
    padding: int = 1,
    levels: int = 256,
    scale: int = 1,
    background: int = 255,
) -> NDArray[np.uint8]:
    """Arrange images in rows and columns, one image for showing.

    Args:
        images: (N, C, H, W) integers, or N images (C, H, W) of one size.
        columns: Images a row; as square as possible if None.
        rows: How many images each row has, if rows differ in that.
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
    if not rows:
        columns = min(columns or math.ceil(math.sqrt(count)), count)
        rows = [min(columns, count - begin) for begin in range(0, count, columns)]
    places = [(row, column) for row, length in enumerate(rows) for column in range(length)]
    down, right = height + padding, width + padding
    sheet = np.full(
        (channels, len(rows) * down + padding, max(rows) * right + padding), background, np.uint8
    )
    for tile, (row, column) in zip(tiles, places, strict=True):
        top, left = padding + row * down, padding + column * right
        sheet[:, top : top + height, left : left + width] = tile
    return sheet


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
