"""Bands of TIFF files, which a decoder of pictures drops or refuses.

A satellite image has bands that are neither colours nor opacity, often of 16 bits. Pillow reads
four bands as colours and drops the fourth, keeps the upper byte of 16-bit colours, and refuses
other numbers of bands. Here every band is a channel, and every stored integer is kept. A sample is
opacity only where the file says so (ExtraSamples 1 or 2); such files are left to Pillow.

Reads strips and tiles, chunky or planar, of 8 or 16 bits, without compression or with LZW or
deflate, with or without horizontal differences.

References:
    TIFF, Revision 6.0, Adobe, 1992.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import ImageError

__all__ = ["TiffFile", "TiffPage", "read_bands", "tiff_pages"]

TiffFile = io.BytesIO | io.BufferedReader

_SIZES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I")}
_MOST_PAGES = 2**16
_MOST_ENTRIES = 2**22
_MOST_SAMPLES = 2**28
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SUBFILE, _STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS = 254, 273, 274, 277, 278
_STRIP_BYTES, _PLANAR, _PREDICTOR, _EXTRA, _FORMAT = 279, 284, 317, 338, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_TAGS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC),
    *(_SUBFILE, _STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS),
    *(_STRIP_BYTES, _PLANAR, _PREDICTOR, _EXTRA, _FORMAT),
    *(_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES),
}
# Short values and blank tiles may be shared; beyond these bytes nothing is read over and over.
_SHARED_VALUES, _SHARED_TILES = 2**6, 2**26


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """The tags of a page.

    Attributes:
        order: "<" or ">", the order of bytes.
        tags: The integers of each tag.
    """

    order: str
    tags: dict[int, tuple[int, ...]]

    def get(self, tag: int, default: int = 0) -> int:
        """The first integer of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def is_reduced(self) -> bool:
        """Whether this is a smaller version of another page."""
        return bool(self.get(_SUBFILE) & 1)

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
    def is_read_here(self) -> bool:
        """Whether Pillow would drop something: bands, or the lower bytes of colours."""
        deep_colours = self.get(_PHOTOMETRIC) == 2 and self.get(_SAMPLES, 1) == 3 and self.bits > 8
        return self.has_bands or deep_colours


def tiff_pages(file: TiffFile) -> list[TiffPage]:
    """The pages of a classic TIFF file; [] for any other file, and for damaged tags.

    Raises:
        ImageError: If tags share their values, so that a small file takes much memory.
    """
    try:
        left = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(8)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
        pages: list[TiffPage] = []
        if order is None:
            return pages
        (offset,) = struct.unpack(order + "I", head[4:])
        seen: set[int] = set()
        while offset and offset not in seen and len(pages) < _MOST_PAGES:
            seen.add(offset)
            file.seek(offset)
            (count,) = struct.unpack(order + "H", file.read(2))
            entries = file.read(12 * count)
            (offset,) = struct.unpack(order + "I", file.read(4))
            tags: dict[int, tuple[int, ...]] = {}
            for k in range(count):
                tag, values, read = _entry(file, order, entries[12 * k : 12 * k + 12], left)
                left -= read
                if values is not None:
                    tags[tag] = values
            pages.append(TiffPage(order=order, tags=tags))
        return pages
    except struct.error:
        return []  # Pillow says what is wrong.
    finally:
        file.seek(0)


def read_bands(file: TiffFile, page: TiffPage) -> NDArray[Any]:
    """The samples of a page as they are stored, (C, H, W), before its orientation is applied.

    Raises:
        ImageError: If the page is damaged, or of a kind that cannot be read.
    """
    samples, height, width = page.get(_SAMPLES, 1), page.get(_HEIGHT), page.get(_WIDTH)
    bits = set(page.tags.get(_BITS, (1,)))
    if bits not in ({8}, {16}) or set(page.tags.get(_FORMAT, (1,))) != {1}:
        raise ImageError(
            f"holds {samples} bands that are not unsigned integers of 8 or 16 bits; convert them"
        )
    if not 0 < samples * height * width <= _MOST_SAMPLES:
        raise ImageError(f"holds {samples} bands of {width}x{height} pixels, which is too much")
    tiled = _TILES in page.tags
    rows = page.get(_TILE_HEIGHT) if tiled else min(page.get(_STRIP_ROWS, height), height)
    columns = page.get(_TILE_WIDTH) if tiled else width
    if rows < 1 or columns < 1 or rows * columns * samples > _MOST_SAMPLES:
        raise ImageError("is damaged: its strips or tiles have no size")
    planar = page.get(_PLANAR, 1) == 2
    depth = 1 if planar else samples
    down, across = -(-height // rows), -(-width // columns)
    offsets = page.tags.get(_TILES if tiled else _STRIPS, ())
    lengths = page.tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    count = down * across * (samples if planar else 1)
    if min(len(offsets), len(lengths)) < count:
        raise ImageError("is damaged: strips or tiles are missing")
    if down * rows * across * columns * samples > 2 * _MOST_SAMPLES:
        raise ImageError("is damaged: its strips or tiles are much larger than the picture")
    if sum(lengths[:count]) > file.seek(0, io.SEEK_END) + _SHARED_TILES:
        raise ImageError("is damaged: its strips or tiles overlap")
    dtype = np.dtype(f"{page.order}u{max(bits) // 8}")
    out = np.zeros((height, width, samples), dtype.newbyteorder("="))
    for number in range(count):
        plane, place = divmod(number, down * across)
        top, left = place // across * rows, place % across * columns
        present = rows if tiled else min(rows, height - top)
        file.seek(offsets[number])
        needed = present * columns * depth * dtype.itemsize
        raw = _unpacked(file.read(lengths[number]), page.get(_COMPRESSION, 1), needed)
        if len(raw) < needed:
            raise ImageError("is truncated")
        block = np.frombuffer(raw[:needed], dtype).reshape(present, columns, depth)
        if page.get(_PREDICTOR, 1) == 2:
            block = np.cumsum(block, axis=1, dtype=out.dtype)
        elif page.get(_PREDICTOR, 1) != 1:
            raise ImageError("has a predictor for floating-point numbers; convert it")
        target = out[top : top + present, left : left + columns]
        bands = slice(plane, plane + 1) if planar else slice(None)
        target[..., bands] = block[: target.shape[0], : target.shape[1]]
    return np.moveaxis(out, 2, 0)


def _entry(
    file: TiffFile, order: str, entry: bytes, left: int
) -> tuple[int, tuple[int, ...] | None, int]:
    """A tag, its integers or None if it is of no use here, and how many of `left` bytes it took."""
    tag, kind, count = struct.unpack(order + "HHI", entry[:8])
    if tag not in _TAGS or kind not in _SIZES or count > _MOST_ENTRIES:
        return tag, None, 0
    size, letter = _SIZES[kind]
    values, taken = entry[8 : 8 + size * count], 0
    if size * count > 4:
        taken = size * count if size * count > _SHARED_VALUES else 0
        if taken > left:
            raise ImageError("is damaged: its tags share their values, or lie outside the file")
        (offset,) = struct.unpack(order + "I", entry[8:])
        here = file.tell()
        file.seek(offset)
        values = file.read(size * count)
        file.seek(here)
    return tag, struct.unpack(f"{order}{count}{letter}", values), taken


def _unpacked(data: bytes, compression: int, needed: int) -> bytes:
    if compression == 1:
        return data
    if compression in (8, 32946):
        try:
            return zlib.decompressobj().decompress(data, needed)
        except zlib.error as error:
            raise ImageError(f"is damaged ({error})") from error
    if compression == 5:
        return _lzw(data, needed)
    raise ImageError(
        f"holds bands compressed in a way (number {compression}) that cannot be read; save it"
        " without compression, or with LZW or deflate"
    )


def _lzw(data: bytes, needed: int) -> bytes:
    """Unpack LZW: codes of 9 to 12 bits, 256 clears the table, 257 ends the data."""
    first = [bytes([k]) for k in range(256)] + [b"", b""]
    table, width, previous = list(first), 9, b""
    out, length, bits, held = [], 0, 0, 0
    for byte in data:
        bits, held = bits << 8 | byte, held + 8
        if held < width:
            continue
        held -= width
        code, bits = bits >> held, bits & ((1 << held) - 1)
        if code == 257 or length >= needed:
            break
        if code == 256:
            table, width, previous = list(first), 9, b""
            continue
        if code > len(table) or (code == len(table) and not previous):
            raise ImageError("is damaged (LZW)")
        entry = table[code] if code < len(table) else previous + previous[:1]
        if previous and len(table) < 4096:
            table.append(previous + entry[:1])
        out.append(entry)
        length += len(entry)
        previous = entry
        # The width grows one code early, as all writers of TIFF do.
        width = min(12, max(9, (len(table) + 1).bit_length()))
    return b"".join(out)
