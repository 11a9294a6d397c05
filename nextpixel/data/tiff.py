"""TIFF files of which a decoder of pictures would drop or refuse something.

A satellite image has bands that are neither colours nor opacity, often of 16 bits; scientific
images have signed integers, floats, and stacks of pages. Pillow reads four bands as colours and
drops the fourth, keeps the upper byte of 16-bit colours, and refuses other numbers of bands. Here
every band is a channel, every page a picture, and every stored number is kept. A sample is opacity
only where the file says so (ExtraSamples 1 or 2); such files are left to Pillow.

The tags are read first (`nextpixel.data.tiff_pages`), so that no small file takes much memory. What
passes is decoded by tifffile, a page at a time and by codecs whose output is
bounded. Its reader of series is not used, because that opens further files that a file names.

References:
    TIFF, Revision 6.0, Adobe, 1992.
"""

import io
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data import tiff_tags as tag
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.storage import optional_package
from nextpixel.data.tiff_pages import TiffPage
from nextpixel.data.tiff_tags import TiffFile

__all__ = ["read_bands"]

_MOST_SAMPLES = 2**28
# Those whose decoders write no more than they are asked for: none, LZW, deflate, PackBits, LZMA,
# and Zstandard. A JPEG inside a TIFF file states a size of its own.
_CODECS = {1, 5, 8, 32946, 32773, 34925, 50000, 34926}


def read_bands(file: TiffFile, page: TiffPage) -> NDArray[Any]:
    """The samples of a page as they are stored, (C, H, W), before its orientation is applied.

    Raises:
        ImageError: If the page is damaged, or of a kind that cannot be read.
    """
    samples, height, width = page.get(tag.SAMPLES, 1), page.get(tag.HEIGHT), page.get(tag.WIDTH)
    bits = set(page.tags.get(tag.BITS, (1,)))
    if bits not in ({8}, {16}, {32}, {64}) or not page.kind:
        raise ImageError(
            f"holds {samples} bands that are not integers of 8 or 16 bits, or floats; convert them"
        )
    if not 0 < samples * height * width <= _MOST_SAMPLES:
        raise ImageError(f"holds {samples} bands of {width}x{height} pixels, which is too much")
    tiled = tag.TILES in page.tags
    rows = page.get(tag.TILE_HEIGHT) if tiled else min(page.get(tag.STRIP_ROWS, height), height)
    columns = page.get(tag.TILE_WIDTH) if tiled else width
    if rows < 1 or columns < 1 or rows * columns * samples > _MOST_SAMPLES:
        raise ImageError("is damaged: its strips or tiles have no size")
    planar = page.get(tag.PLANAR, 1) == 2
    down, across = -(-height // rows), -(-width // columns)
    offsets = page.tags.get(tag.TILES if tiled else tag.STRIPS, ())
    lengths = page.tags.get(tag.TILE_BYTES if tiled else tag.STRIP_BYTES, ())
    count = down * across * (samples if planar else 1)
    if min(len(offsets), len(lengths)) < count:
        raise ImageError("is damaged: strips or tiles are missing")
    if down * rows * across * columns * samples > 2 * _MOST_SAMPLES:
        raise ImageError("is damaged: its strips or tiles are much larger than the picture")
    there = file.seek(0, io.SEEK_END)
    if sum(lengths[:count]) > there + tag.SHARED_BYTES:
        raise ImageError("is damaged: its strips or tiles overlap")
    if page.get(tag.COMPRESSION, 1) not in _CODECS:
        raise ImageError(
            f"is compressed in a way (number {page.get(tag.COMPRESSION)}) that is not read for such"
            " values; save it without compression, or with LZW, deflate or Zstandard"
        )
    if page.layer:
        return _layer(file, page, min(offsets), (samples, height, width), there)
    x = _decoded(file, page)
    x = np.moveaxis(x.reshape(height, width, -1), 2, 0) if not planar else x
    if x.size != samples * height * width:
        raise ImageError("is damaged: its samples are not of the size that it says")
    return _narrow(x.reshape(samples, height, width))


def _decoded(file: TiffFile, page: TiffPage) -> NDArray[Any]:
    try:
        tifffile = optional_package("tifffile", extra="tiff")
    except DataError as error:  # For one picture, as everything that is wrong with it.
        raise ImageError(error.sentence) from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What is wrong is raised below.
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as whole:
            whole.filehandle.seek(page.place)
            found = tifffile.TiffPage(whole, index=0)
            said = found.samplesperpixel, found.imagelength, found.imagewidth, found.imagedepth
            if said != (page.get(tag.SAMPLES, 1), page.get(tag.HEIGHT), page.get(tag.WIDTH), 1):
                raise ImageError("is damaged: its tags contradict each other")
            return np.asarray(found.asarray(maxworkers=1))
    except ImageError:
        raise
    except Exception as error:  # Damaged pages raise many kinds.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"is damaged ({reason}); repair it or remove it") from error


def _layer(
    file: TiffFile, page: TiffPage, begin: int, shape: tuple[int, int, int], there: int
) -> NDArray[Any]:
    """One image of a stack of ImageJ: they lie one behind the other, uncompressed."""
    dtype = np.dtype(f"{page.order}{page.kind}{page.bits // 8}")
    samples, height, width = shape
    size = samples * height * width * dtype.itemsize
    if begin + (page.layer + 1) * size > there:
        raise ImageError("is truncated")
    file.seek(begin + page.layer * size)
    x = np.frombuffer(file.read(size), dtype).astype(dtype.newbyteorder("="))
    if page.get(tag.PLANAR, 1) == 2:
        return _narrow(x.reshape(shape))
    return _narrow(np.moveaxis(x.reshape(height, width, samples), 2, 0))


def _narrow(x: NDArray[Any]) -> NDArray[Any]:
    """Integers that fit into 16 bits, in the type of the head; floats of at least 32 bits."""
    if x.dtype.kind == "f":
        return x.astype(np.float32) if x.dtype.itemsize < 4 else x
    if x.dtype in (np.uint8, np.uint16, np.int16):
        return x
    low, high = int(x.min()), int(x.max())
    if low < -(2**15) or high >= 2**16:
        raise ImageError(f"holds samples from {low} to {high}, beyond 16 bits; convert it")
    if x.dtype.kind == "u":
        return x.astype(np.uint16)
    return x.astype(np.int16 if x.dtype.itemsize == 1 else np.int32)
