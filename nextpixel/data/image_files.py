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
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nextpixel.data.decoding import convert, grey_samples, natural_channels, orientation, upright
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.folders import require_file
from nextpixel.data.pixels import Integers, within
from nextpixel.errors import UsageError
from nextpixel.files.replacing import replace_file

__all__ = [
    "MOST_PIXELS",
    "grid",
    "image_shape",
    "read_image",
    "read_indices",
    "taking_turns",
    "to_uint8",
    "write_gif",
    "write_image",
]

PictureFile: TypeAlias = str | Path | io.BytesIO | io.BufferedReader

MOST_PIXELS = 2**26
"""Pictures of more pixels are refused: a file of 22 kB can hold what takes gigabytes to decode."""

# Of larger ones, one at a time is decoded, so that eight at once do not fill the memory.
_LARGE_PIXELS = 2**25
_one_large = RLock()

# What is decoded here, with plug-ins that a user installed for some of them. Pillow would open many
# more formats by their content, whatever a file is called, and gives PostScript to a program.
_FORMATS = "PNG JPEG MPO WEBP BMP DIB GIF TIFF PPM AVIF JPEG2000 TGA PCX HEIF JXL".split()


def read_image(
    path: PictureFile, *, channels: int | None = None, name: str | None = None
) -> NDArray[np.uint8]:
    """Read one picture as integers 0 ... 255.

    Args:
        path: A PNG, JPEG, WebP, BMP, GIF, TIFF, PPM, AVIF, JPEG 2000, TGA or PCX file, or an open
            binary file; the content decides, not the name.
        channels: 1, 3 or 4 to convert; None keeps what the file has: grey 1, colours 3, either with
            opacity 4 (a palette counts by its colours). Colours become grey by ITU-R 601 luma;
            transparent pixels are laid on white where opacity is not wanted.
        name: What errors call the picture; the path if None.

    Returns:
        An array (C, H, W), upright as the EXIF orientation says.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If the file is not a picture, is damaged or truncated, holds floating-point
            samples, or more than `MOST_PIXELS` pixels.

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
        turn = orientation(picture)
        natural = natural_channels(picture)
        if natural == 1:
            x = grey_samples(picture)[None]
        else:
            mode = "RGB" if natural == 3 else "RGBA"
            x = np.moveaxis(
                np.asarray(picture if picture.mode == mode else picture.convert(mode)), 2, 0
            )
        return np.ascontiguousarray(upright(convert(x, channels or natural), turn))


def read_indices(path: PictureFile, *, name: str | None = None) -> NDArray[np.uint8] | None:
    """Read a picture with a palette as colour indices, (1, H, W); None if it has no palette.

    Segmentations are stored in this way: the indices are categories, the colours only display them.

    Args:
        path: As for `read_image`, which raises the same errors.
        name: What errors call the picture; the path if None.
    """
    with _opened(path, name) as picture:
        if picture.mode != "P":
            return None
        turn, x = orientation(picture), np.asarray(picture)[None]
    return np.ascontiguousarray(upright(x, turn))


def image_shape(path: PictureFile, *, name: str | None = None) -> tuple[int, int, int]:
    """Find (C, H, W) that `read_image` would return, from the head of the file alone."""
    with _opened(path, name) as picture:
        width, height = picture.size
        if orientation(picture) >= 5:
            width, height = height, width
        return natural_channels(picture), height, width


def taking_turns(pixels: int) -> AbstractContextManager[Any]:
    """A block in which no other thread works on a large picture, if this one is large."""
    return _one_large if pixels > _LARGE_PIXELS else nullcontext()


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
        with replace_file(path, to_disk=False) as place:
            picture.save(place)
    except (FileNotFoundError, UsageError):
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
        if isinstance(source, str | Path):
            require_file(Path(source))
        Image.init()
        formats = [format for format in _FORMATS if format in Image.OPEN]
        with Image.open(source, formats=formats) as picture:
            pixels = picture.width * picture.height
            if pixels > MOST_PIXELS:
                raise ImageError(
                    f"holds {picture.width}x{picture.height} pixels, more than the"
                    f" {MOST_PIXELS:,} that are accepted; reduce it"
                )
            with taking_turns(pixels):
                yield picture
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except DataError as error:  # Not a regular file.
        raise ImageError(str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: cannot be read as a picture (unknown or damaged format); remove it"
        ) from error
    except Exception as error:  # Decoders raise every kind of exception on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{name}: cannot be read as a picture ({reason}); repair it or remove it"
        ) from error


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
