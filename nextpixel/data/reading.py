"""Reading pictures: files of many formats -> integers, or one sentence that says what is wrong."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nextpixel.data.decoding import (
    ImageHead,
    convert,
    grey_samples,
    has_deep_colours,
    image_head,
    natural_channels,
    orientation,
    upright,
)
from nextpixel.data.dicom import dicom_heads, dicom_samples, is_dicom
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.folders import require_file
from nextpixel.data.tiff import read_bands
from nextpixel.data.tiff_pages import TiffPage, beginning_with, tiff_page, tiff_pages
from nextpixel.data.tiff_tags import TiffFile

__all__ = [
    "MOST_PIXELS",
    "UNDECODABLE",
    "PictureFile",
    "image_heads",
    "image_shape",
    "known_formats",
    "read_image",
    "read_indices",
    "taking_turns",
]

PictureFile: TypeAlias = str | Path | io.BytesIO | io.BufferedReader | Image.Image

# Left out in silence, half of somebody's photographs would be missing: so they are errors.
UNDECODABLE = frozenset(".heic .heif .jxl .dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split())
"""Names of pictures that end in these are read only if Pillow has a decoder for them."""

MOST_PIXELS = 2**26
"""Pictures of more pixels are refused: a file of 22 kB can hold what takes gigabytes to decode."""

# Of larger ones, one at a time is decoded, so that eight at once do not fill the memory.
_LARGE_PIXELS = 2**25
_one_large = RLock()

# What is decoded here, with plug-ins that a user installed for some of them. Pillow would open many
# more formats by their content, whatever a file is called, and gives PostScript to a program.
_FORMATS = "PNG JPEG MPO WEBP BMP DIB GIF TIFF PPM AVIF JPEG2000 TGA PCX HEIF JXL".split()


def read_image(
    path: PictureFile,
    *,
    channels: int | None = None,
    name: str | None = None,
    page: int = 0,
    place: int = 0,
    reading: int = 2,
    any_number: bool = False,
) -> NDArray[Any]:
    """Read one picture as integers 0 ... 255, or 0 ... 65535 where samples have 16 bits.

    Args:
        path: A PNG, JPEG, WebP, BMP, GIF, TIFF, PPM, AVIF, JPEG 2000, TGA or PCX file, an open
            binary file, or a picture of Pillow; the content decides, not the name.
        channels: 1, 3 or 4 to convert; None keeps what the file has: grey 1, colours 3, either with
            opacity 4 (a palette counts by its colours), or the bands of a TIFF file. Colours become
            grey by ITU-R 601 luma; transparent pixels are laid on white where opacity is not
            wanted.
        name: What errors call the picture; the path if None.
        page: Which page of a TIFF file.
        place: Where the tags of that page begin, as `image_heads` found it; 0 to look for them.
        reading: `Preparation.reading`.
        any_number: Whether floats and negative integers are read too, whose meaning the caller must
            know.

    Returns:
        An array (C, H, W), upright as the EXIF orientation says: uint16 for grey of 16 or 32 bits,
        whose integers are kept as they are, and for bands of 16 bits; else uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If the file is not a picture, is damaged or truncated, holds floating-point
            samples or samples beyond 16 bits, or has more than `MOST_PIXELS`.
    """
    if channels not in (None, 1, 3, 4):
        raise ImageError(
            f"‹channels={channels}› must be 1 (grey), 3 (RGB) or 4 (RGBA) for pictures"
        )
    with _reported(path, name), _stream(path) as file:
        x: NDArray[Any] | None = None
        found = None if reading == 1 else _tiff_page(file, page, place)
        if is_dicom(file):
            x = dicom_samples(file, page)
        elif found is not None and found.is_read_here:
            _check_pixels(*found.shape[1:])
            x = upright(read_bands(file, found), found.turn)
            if channels not in (None, len(x)) and found.has_bands:
                raise ImageError(f"has {len(x)} bands, which are not {channels} channels")
        if x is not None:
            x = x if any_number else _brightness(x)
            return np.ascontiguousarray(convert(x, channels or len(x)))
    with _opened(path, name, place) as picture:
        if page and not place:
            picture.seek(page)
            _check_pixels(picture.height, picture.width)
        turn = orientation(picture)
        natural = natural_channels(picture)
        if natural == 1:
            x = grey_samples(picture, upper_byte=reading == 1)[None]
        else:
            mode = "RGB" if natural == 3 else "RGBA"
            only_upper = reading > 1 and has_deep_colours(picture)
            x = np.moveaxis(
                np.asarray(picture if picture.mode == mode else picture.convert(mode)), 2, 0
            )
            if only_upper and x[:3].max() < 128:
                raise ImageError(
                    "holds 16-bit colours that do not use the highest bit, of which only the upper"
                    " 8 bits can be read; convert it to 8 bits, or its channels to an array"
                )
        return np.ascontiguousarray(upright(convert(x, channels or natural), turn))


def image_heads(path: PictureFile, *, name: str | None = None, reading: int = 2) -> list[ImageHead]:
    """What `read_image` would return for each page, from the heads of the file alone.

    Of animations, and by the rules 1 of reading, only the first page is given. Smaller versions and
    masks of other pages, as in a cloud-optimised GeoTIFF, are left out.
    """
    with _reported(path, name), _stream(path) as file:
        if is_dicom(file):
            frames = dicom_heads(file)
            _check_pixels(*frames[0].shape[1:])
            return frames
        pages = [] if reading == 1 else tiff_pages(file)
        whole = [n for n, page in enumerate(pages) if not (n and page.is_reduced)]
        if pages and all(pages[number].is_read_here for number in whole):
            for number in whole:
                _check_pixels(*pages[number].shape[1:])
            return [pages[number].head(number) for number in whole]
    heads: list[ImageHead] = []
    with _opened(path, name) as picture:
        for number in whole or [0]:
            if number < len(pages) and pages[number].is_read_here:
                _check_pixels(*pages[number].shape[1:])
                heads.append(pages[number].head(number))
                continue
            if number:
                picture.seek(number)
            _check_pixels(picture.height, picture.width)
            head = image_head(picture, page=number, reading=reading)
            place = pages[number].place if len(pages) > 1 else 0
            head = replace(head, place=place)
            if number < len(pages):
                page = pages[number]
                said = page.notes(inverted=picture.mode in ("1", "L"))  # As Pillow does.
                head = replace(head, nodata=page.nodata, notes=(*head.notes, *said))
            heads.append(head)
    return heads


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
    return image_heads(path, name=name)[0].shape


def taking_turns(pixels: int) -> AbstractContextManager[Any]:
    """A block in which no other thread works on a large picture, if this one is large."""
    return _one_large if pixels > _LARGE_PIXELS else nullcontext()


def _brightness(x: NDArray[Any]) -> NDArray[Any]:
    """Integers that are not negative, as they are; an error for other numbers."""
    if x.dtype.kind == "f":
        raise ImageError(
            "holds floating-point samples, whose range is unknown; convert it to 8 or 16 bits"
        )
    if x.dtype.kind == "i" and x.min() < 0:
        raise ImageError(f"holds samples from {x.min()}, but brightness begins at 0; convert it")
    return x.astype(np.uint16) if x.dtype.kind == "i" else x


def _tiff_page(file: TiffFile, page: int, place: int) -> TiffPage | None:
    """A page of a TIFF file; None if there is none."""
    if place:
        return tiff_page(file, page, place)
    return dict(enumerate(tiff_pages(file))).get(page)


def known_formats() -> list[str]:
    """The formats that Pillow may be asked to read; others run code that nobody has looked at."""
    Image.init()
    return [format for format in _FORMATS if format in Image.OPEN]


@contextmanager
def _opened(source: PictureFile, name: str | None, place: int = 0) -> Iterator[Image.Image]:
    with _reported(source, name):
        if isinstance(source, Image.Image):
            _check_pixels(source.height, source.width)
            yield source
            return
        with _from(source, place) as file, Image.open(file, formats=known_formats()) as picture:
            _check_pixels(picture.height, picture.width)
            with taking_turns(picture.width * picture.height):
                yield picture


@contextmanager
def _from(source: Any, place: int) -> Iterator[Any]:
    """The file, with the page of a TIFF file that begins at a place as its first."""
    if not place:
        yield source
        return
    with _stream(source) as file:
        yield beginning_with(file, place)


@contextmanager
def _stream(source: PictureFile) -> Iterator[TiffFile]:
    """The file, from its beginning; an empty one for a picture that is read already."""
    if isinstance(source, Image.Image):
        yield io.BytesIO()
    elif isinstance(source, str | Path):
        with open(source, "rb") as file:
            yield file
    else:
        source.seek(0)
        yield source
        source.seek(0)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise ImageError(
            f"holds {width}x{height} pixels, more than the {MOST_PIXELS:,} that are accepted;"
            " reduce it"
        )


def _check_decodable(name: str) -> None:
    """Refuse a format without a decoder, by the name of the file."""
    suffix = Path(name).suffix.lower()
    if suffix in UNDECODABLE and suffix not in Image.registered_extensions():
        raise ImageError(
            f"pictures in {suffix} cannot be decoded; convert it to PNG or JPEG, or remove it"
        )


@contextmanager
def _reported(source: PictureFile, name: str | None) -> Iterator[None]:
    """Name the picture in whatever is wrong with it."""
    if isinstance(source, str | Path) and not Path(source).exists():
        if Path(source).is_symlink():
            raise ImageError(f"{source} is a link that leads nowhere; remove it")
        raise FileNotFoundError(f"{source}: there is no such picture")
    name = name or str(
        source if isinstance(source, str | Path) else getattr(source, "name", "the picture")
    )
    try:
        if isinstance(source, str | Path):
            require_file(Path(source))
            if not Path(source).stat().st_size:
                raise ImageError("cannot be read as a picture (it is empty); remove it")
        _check_decodable(name)
        yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except DataError as error:  # Not a regular file.
        raise ImageError(str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: cannot be read as a picture (unknown or damaged format); remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: holds more than the {MOST_PIXELS:,} pixels that are accepted; reduce it"
        ) from error
    except Exception as error:  # Decoders raise every kind of exception on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{name}: cannot be read as a picture ({reason}); repair it or remove it"
        ) from error
