"""TIFF files of which a decoder of pictures would drop or refuse something.

A satellite image has bands that are neither colours nor opacity, often of 16 bits; scientific
images have signed integers, floats, and stacks of pages. Pillow reads four bands as colours and
drops the fourth, keeps the upper byte of 16-bit colours, and refuses other numbers of bands. Here
every band is a channel, every page a picture, and every stored number is kept. A sample is opacity
only where the file says so (ExtraSamples 1 or 2); such files are left to Pillow.

The tags are read here first, so that no small file takes much memory: values, strips and tiles may
not be shared. What passes is decoded by tifffile, a page at a time and by codecs whose output is
bounded. Its reader of series is not used, because that opens further files that a file names.

References:
    TIFF, Revision 6.0, Adobe, 1992.
"""

import io
import logging
import re
import struct
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.decoding import ImageHead
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.storage import optional_package

__all__ = ["TiffFile", "TiffPage", "read_bands", "tiff_pages"]

TiffFile = io.BytesIO | io.BufferedReader

_SIZES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}
# Bytes of a value of each type, also of those that are of no use here.
_WIDTHS = dict(
    zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8, 8, 8), strict=True)
)
_MOST_PAGES = 2**16
_MOST_ENTRIES = 2**22
_MOST_SAMPLES = 2**28
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SUBFILE, _STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS = 254, 273, 274, 277, 278
_STRIP_BYTES, _PLANAR, _EXTRA, _FORMAT = 279, 284, 338, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_DESCRIPTION, _NODATA, _DEPTH = 270, 42113, 32997
_TAGS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC),
    *(_SUBFILE, _STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS),
    *(_STRIP_BYTES, _PLANAR, _EXTRA, _FORMAT, _DEPTH),
    *(_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES),
}
# Those whose decoders write no more than they are asked for: none, LZW, deflate, PackBits, LZMA,
# and Zstandard. A JPEG inside a TIFF file states a size of its own.
_CODECS = {1, 5, 8, 32946, 32773, 34925, 50000, 34926}
_KINDS = {1: "u", 2: "i", 3: "f"}
_IMAGEJ = re.compile(r"^images=([0-9]{1,6})$", re.MULTILINE)
# Short values and blank tiles may be shared; beyond these bytes nothing is read over and over.
_SHARED_VALUES, _SHARED_TILES = 2**6, 2**26


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """The tags of a page.

    Attributes:
        order: "<" or ">", the order of bytes.
        place: Where its tags begin.
        tags: The integers of each tag.
        nodata: What GDAL says that pixels without data hold, or None.
        layer: Its number among the images of ImageJ that lie one behind the other.
    """

    order: str
    place: int
    tags: dict[int, tuple[int, ...]]
    nodata: str | None = None
    layer: int = 0

    def get(self, tag: int, default: int = 0) -> int:
        """The first integer of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def is_reduced(self) -> bool:
        """Whether this is a smaller version of another page, or the mask of one."""
        return bool(self.get(_SUBFILE) & 5)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, height and width, upright."""
        height, width = self.get(_HEIGHT), self.get(_WIDTH)
        if self.turn >= 5:
            height, width = width, height
        return self.get(_SAMPLES, 1), height, width

    @property
    def turn(self) -> int:
        """The orientation, 1 ... 8."""
        turn = self.get(_ORIENTATION, 1)
        return turn if 1 <= turn <= 8 else 1

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return max(self.tags.get(_BITS, (1,)))

    @property
    def has_bands(self) -> bool:
        """Whether its channels are bands: neither grey or colours alone, nor with opacity."""
        samples, extra = self.get(_SAMPLES, 1), self.tags.get(_EXTRA, ())
        colours = {0: 1, 1: 1, 2: 3}.get(self.get(_PHOTOMETRIC))
        if colours is None or samples <= colours:
            return False
        return samples > colours + 1 or not extra or extra[0] not in (1, 2)

    @property
    def kind(self) -> str:
        """The kind of its numbers as numpy calls it: "u", "i" or "f"; "" if unknown."""
        kinds = set(self.tags.get(_FORMAT, (1,)))
        return _KINDS.get(kinds.pop(), "") if len(kinds) == 1 else ""

    def notes(self, *, inverted: bool) -> tuple[str, ...]:
        """What must be said where 0 is white."""
        if self.get(_PHOTOMETRIC, 1) != 0 or self.has_bands:
            return ()
        done = "they are inverted" if inverted else "they are kept as stored"
        return (f"high values are dark (MINISWHITE): {done}",)

    @property
    def is_read_here(self) -> bool:
        """Whether Pillow would drop something: bands, signs, or the lower bytes of colours."""
        deep_colours = self.get(_PHOTOMETRIC) == 2 and self.get(_SAMPLES, 1) == 3 and self.bits > 8
        # Of signed integers of 32 bits Pillow reads those that are not negative.
        signed = self.kind == "i" and (self.bits <= 16 or find_spec("tifffile") is not None)
        other_numbers = self.get(_PHOTOMETRIC) in (0, 1) and (signed or self.kind == "f")
        return self.has_bands or deep_colours or other_numbers or self.layer > 0

    def head(self, number: int) -> ImageHead:
        """What `read_bands` gives, as the page of this number."""
        deep = self.bits > 8 or self.kind != "u"
        return ImageHead(
            self.shape,
            number,
            None if deep else 256,
            has_bands=self.has_bands,
            signed_bits=(16 if self.bits <= 16 else 32) if self.kind == "i" else 0,
            real=self.kind == "f",
            nodata=self.nodata,
            notes=self.notes(inverted=False),
        )


def tiff_pages(file: TiffFile) -> list[TiffPage]:
    """The pages of a TIFF file; [] for any other file, and for damaged tags.

    Raises:
        ImageError: If tags share their values, so that a small file takes much memory, or a page is
            a volume.
    """
    try:
        left = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
        if order is None or version not in (42, 43):
            return []
        big = version == 43
        count_of, place_of, entry_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
        (place,) = struct.unpack_from(order + place_of, head, 8 if big else 4)
        pages: list[TiffPage] = []
        seen: set[int] = set()
        while place and place not in seen and len(pages) < _MOST_PAGES:
            seen.add(place)
            file.seek(place)
            width = struct.calcsize(count_of)
            (count,) = struct.unpack(order + count_of, file.read(width))
            entries = file.read(entry_bytes * min(count, 2**16))
            (following,) = struct.unpack(order + place_of, file.read(struct.calcsize(place_of)))
            tags: dict[int, tuple[int, ...]] = {}
            texts: dict[int, str] = {}
            for begin in range(0, entry_bytes * count, entry_bytes):
                entry = entries[begin : begin + entry_bytes]
                left -= _read_entry(file, order, big, entry, left, tags, texts)
            page = TiffPage(order=order, place=place, tags=tags, nodata=texts.get(_NODATA))
            if page.get(_DEPTH, 1) > 1:
                raise ImageError("holds a volume in one page; save its layers as pages")
            pages.append(page)
            place = following
        return _layers(pages, texts.get(_DESCRIPTION, "")) if len(pages) == 1 else pages
    except struct.error:
        return []  # Pillow says what is wrong.
    finally:
        file.seek(0)


def _layers(pages: list[TiffPage], description: str) -> list[TiffPage]:
    """The images of a stack of ImageJ, which has the tags of the first alone."""
    found = _IMAGEJ.search(description) if description.startswith("ImageJ=") else None
    count = int(found[1]) if found else 1
    if count < 2 or pages[0].get(_COMPRESSION, 1) != 1 or _TILES in pages[0].tags:
        return pages
    return [replace(pages[0], layer=layer) for layer in range(count)]


def read_bands(file: TiffFile, page: TiffPage) -> NDArray[Any]:
    """The samples of a page as they are stored, (C, H, W), before its orientation is applied.

    Raises:
        ImageError: If the page is damaged, or of a kind that cannot be read.
    """
    samples, height, width = page.get(_SAMPLES, 1), page.get(_HEIGHT), page.get(_WIDTH)
    bits = set(page.tags.get(_BITS, (1,)))
    if bits not in ({8}, {16}, {32}, {64}) or not page.kind:
        raise ImageError(
            f"holds {samples} bands that are not integers of 8 or 16 bits, or floats; convert them"
        )
    if not 0 < samples * height * width <= _MOST_SAMPLES:
        raise ImageError(f"holds {samples} bands of {width}x{height} pixels, which is too much")
    tiled = _TILES in page.tags
    rows = page.get(_TILE_HEIGHT) if tiled else min(page.get(_STRIP_ROWS, height), height)
    columns = page.get(_TILE_WIDTH) if tiled else width
    if rows < 1 or columns < 1 or rows * columns * samples > _MOST_SAMPLES:
        raise ImageError("is damaged: its strips or tiles have no size")
    planar = page.get(_PLANAR, 1) == 2
    down, across = -(-height // rows), -(-width // columns)
    offsets = page.tags.get(_TILES if tiled else _STRIPS, ())
    lengths = page.tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    count = down * across * (samples if planar else 1)
    if min(len(offsets), len(lengths)) < count:
        raise ImageError("is damaged: strips or tiles are missing")
    if down * rows * across * columns * samples > 2 * _MOST_SAMPLES:
        raise ImageError("is damaged: its strips or tiles are much larger than the picture")
    there = file.seek(0, io.SEEK_END)
    if sum(lengths[:count]) > there + _SHARED_TILES:
        raise ImageError("is damaged: its strips or tiles overlap")
    if page.get(_COMPRESSION, 1) not in _CODECS:
        raise ImageError(
            f"is compressed in a way (number {page.get(_COMPRESSION)}) that is not read for such"
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
            if said != (page.get(_SAMPLES, 1), page.get(_HEIGHT), page.get(_WIDTH), 1):
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
    if page.get(_PLANAR, 1) == 2:
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


def _read_entry(
    file: TiffFile,
    order: str,
    big: bool,
    entry: bytes,
    left: int,
    tags: dict[int, tuple[int, ...]],
    texts: dict[int, str],
) -> int:
    """Read a tag, and give how many of `left` bytes it took."""
    tag, kind, count = struct.unpack(f"{order}HH{'Q' if big else 'I'}", entry[: 12 if big else 8])
    inline = entry[12:] if big else entry[8:]
    size = _WIDTHS.get(kind, 1) * count
    taken = size if size > _SHARED_VALUES else 0
    if taken > left:
        raise ImageError("is damaged: its tags share their values, or lie outside the file")
    is_text = kind == 2 and tag in (_DESCRIPTION, _NODATA)
    if not is_text and (tag not in _TAGS or kind not in _SIZES or count > _MOST_ENTRIES):
        return taken
    values = inline[:size]
    if size > len(inline):
        (place,) = struct.unpack(order + ("Q" if big else "I"), inline)
        here = file.tell()
        file.seek(place)
        values = file.read(min(size, 2**12) if is_text else size)
        file.seek(here)
    if is_text:
        texts.setdefault(tag, values.split(b"\0")[0].decode("ascii", "replace").strip())
    else:
        # Of tags that occur twice, tifffile takes the first too.
        tags.setdefault(tag, struct.unpack(f"{order}{count}{_SIZES[kind][1]}", values))
    return taken
