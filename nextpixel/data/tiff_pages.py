"""The pages of TIFF files, from their tags.

They are read here first, so that no small file takes much memory: values, strips and tiles may not
be shared. A page is found again by where its tags begin, because a way through all pages before it,
for each page, takes the square of their number.
"""

import io
import re
import struct
from dataclasses import dataclass, replace
from importlib.util import find_spec

from nextpixel.data import tiff_tags as tag
from nextpixel.data.decoding import ImageHead
from nextpixel.data.errors import ImageError
from nextpixel.data.tiff_tags import TiffFile

__all__ = ["TiffPage", "beginning_with", "tiff_page", "tiff_pages"]

_SIZES = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}
# Bytes of a value of each type, also of those that are of no use here.
_WIDTHS = dict(
    zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8, 8, 8), strict=True)
)
_MOST_PAGES = 2**16
_MOST_ENTRIES = 2**22
_TAGS = {
    *(tag.WIDTH, tag.HEIGHT, tag.BITS, tag.COMPRESSION, tag.PHOTOMETRIC),
    *(tag.SUBFILE, tag.STRIPS, tag.ORIENTATION, tag.SAMPLES, tag.STRIP_ROWS),
    *(tag.STRIP_BYTES, tag.PLANAR, tag.EXTRA, tag.FORMAT, tag.DEPTH),
    *(tag.TILE_WIDTH, tag.TILE_HEIGHT, tag.TILES, tag.TILE_BYTES),
}
_KINDS = {1: "u", 2: "i", 3: "f"}
_IMAGEJ = re.compile(r"^images=([0-9]{1,6})$", re.MULTILINE)
# Short values and pages may be shared; beyond these bytes nothing is read over and over.
_SHARED_VALUES, _SHARED_PAGES = 2**6, 2**20


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
        return bool(self.get(tag.SUBFILE) & 5)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, height and width, upright."""
        height, width = self.get(tag.HEIGHT), self.get(tag.WIDTH)
        if self.turn >= 5:
            height, width = width, height
        return self.get(tag.SAMPLES, 1), height, width

    @property
    def turn(self) -> int:
        """The orientation, 1 ... 8."""
        turn = self.get(tag.ORIENTATION, 1)
        return turn if 1 <= turn <= 8 else 1

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return max(self.tags.get(tag.BITS, (1,)))

    @property
    def has_bands(self) -> bool:
        """Whether its channels are bands: neither grey or colours alone, nor with opacity."""
        samples, extra = self.get(tag.SAMPLES, 1), self.tags.get(tag.EXTRA, ())
        colours = {0: 1, 1: 1, 2: 3}.get(self.get(tag.PHOTOMETRIC))
        if colours is None or samples <= colours:
            return False
        return samples > colours + 1 or not extra or extra[0] not in (1, 2)

    @property
    def kind(self) -> str:
        """The kind of its numbers as numpy calls it: "u", "i" or "f"; "" if unknown."""
        kinds = set(self.tags.get(tag.FORMAT, (1,)))
        return _KINDS.get(kinds.pop(), "") if len(kinds) == 1 else ""

    def notes(self, *, inverted: bool) -> tuple[str, ...]:
        """What must be said where 0 is white."""
        if self.get(tag.PHOTOMETRIC, 1) != 0 or self.has_bands:
            return ()
        done = "they are inverted" if inverted else "they are kept as stored"
        return (f"high values are dark (MINISWHITE): {done}",)

    @property
    def is_read_here(self) -> bool:
        """Whether Pillow would drop something: bands, signs, or the lower bytes of colours."""
        deep_colours = (
            self.get(tag.PHOTOMETRIC) == 2 and self.get(tag.SAMPLES, 1) == 3 and self.bits > 8
        )
        # Of signed integers of 32 bits Pillow reads those that are not negative.
        signed = self.kind == "i" and (self.bits <= 16 or find_spec("tifffile") is not None)
        other_numbers = self.get(tag.PHOTOMETRIC) in (0, 1) and (signed or self.kind == "f")
        return self.has_bands or deep_colours or other_numbers or self.layer > 0

    @property
    def stored_bytes(self) -> int:
        """What its strips or tiles take in the file."""
        if self.get(tag.COMPRESSION, 1) == 1:  # Whatever it says of strips, all samples are read.
            row = self.get(tag.SAMPLES, 1) * self.get(tag.WIDTH) * self.bits
            return -(-row // 8) * self.get(tag.HEIGHT)
        return sum(self.tags.get(tag.TILE_BYTES if tag.TILES in self.tags else tag.STRIP_BYTES, ()))

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
            place=self.place,
        )


def tiff_pages(file: TiffFile) -> list[TiffPage]:
    """The pages of a TIFF file; [] for any other file, and for damaged tags.

    Raises:
        ImageError: If tags or pages share their bytes, so that a small file takes much memory, or a
            page is a volume.
    """
    there = left = file.seek(0, io.SEEK_END)
    try:
        order, big, place = _head(file)
        pages: list[TiffPage] = []
        seen: set[int] = set()
        texts: dict[int, str] = {}
        while place and place not in seen and len(pages) < _MOST_PAGES:
            seen.add(place)
            page, texts, place, left = _page(file, order, big, place, left)
            pages.append(page)
    except (struct.error, OverflowError):
        return []  # Pillow says what is wrong.
    finally:
        file.seek(0)
    if len(pages) == 1:
        return _layers(pages, texts.get(tag.DESCRIPTION, ""))
    if sum(page.stored_bytes for page in pages) > there + _SHARED_PAGES:
        raise ImageError("is damaged: its pages share their strips or tiles")
    return pages


def tiff_page(file: TiffFile, number: int, place: int) -> TiffPage:
    """The page of a number, whose tags begin at a place, as `tiff_pages` found it."""
    order, big, first = _head(file)
    page, _, _, _ = _page(file, order, big, place, file.seek(0, io.SEEK_END))
    file.seek(0)
    return replace(page, layer=number if place == first else 0)


def beginning_with(file: TiffFile, place: int) -> io.RawIOBase:
    """A TIFF file as if its first page were the one whose tags begin at a place.

    Pillow would otherwise go through all pages before it, for each page.
    """
    order, big, _ = _head(file)
    file.seek(0)
    head = file.read(8) if big else file.read(4)
    return _Beginning(file, head + struct.pack(order + ("Q" if big else "I"), place))


class _Beginning(io.RawIOBase):
    def __init__(self, file: TiffFile, head: bytes) -> None:
        self._file, self._head = file, head
        if isinstance(file, io.BytesIO):
            self.getvalue = file.getvalue

    def read(self, size: int = -1) -> bytes:
        place = self._file.tell()
        data = self._file.read(size)
        return self._head[place : place + len(data)] + data[max(0, len(self._head) - place) :]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _head(file: TiffFile) -> tuple[str, bool, int]:
    """The order of bytes, whether it is a BigTIFF file, and where the first page is, 0 if none."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    big = version == 43
    if version not in (42, 43):
        return "<", False, 0
    return order, big, struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]


def _page(
    file: TiffFile, order: str, big: bool, place: int, left: int
) -> tuple[TiffPage, dict[int, str], int, int]:
    """A page, its texts, where the next is, and how many of the bytes are left for values."""
    count_of, place_of, entry_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
    file.seek(place)
    (count,) = struct.unpack(order + count_of, file.read(struct.calcsize(count_of)))
    entries = file.read(entry_bytes * min(count, 2**16))
    (following,) = struct.unpack(order + place_of, file.read(struct.calcsize(place_of)))
    tags: dict[int, tuple[int, ...]] = {}
    texts: dict[int, str] = {}
    for begin in range(0, entry_bytes * count, entry_bytes):
        entry = entries[begin : begin + entry_bytes]
        left -= _read_entry(file, order, big, entry, left, tags, texts)
    page = TiffPage(order=order, place=place, tags=tags, nodata=texts.get(tag.NODATA))
    if page.get(tag.DEPTH, 1) > 1:
        raise ImageError("holds a volume in one page; save its layers as pages")
    return page, texts, following, left


def _layers(pages: list[TiffPage], description: str) -> list[TiffPage]:
    """The images of a stack of ImageJ, which has the tags of the first alone."""
    found = _IMAGEJ.search(description) if description.startswith("ImageJ=") else None
    count = int(found[1]) if found else 1
    if count < 2 or pages[0].get(tag.COMPRESSION, 1) != 1 or tag.TILES in pages[0].tags:
        return pages
    return [replace(pages[0], layer=layer) for layer in range(count)]


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
    number, kind, count = struct.unpack(
        f"{order}HH{'Q' if big else 'I'}", entry[: 12 if big else 8]
    )
    inline = entry[12:] if big else entry[8:]
    size = _WIDTHS.get(kind, 1) * count
    taken = size if size > _SHARED_VALUES else 0
    if taken > left:
        raise ImageError("is damaged: its tags share their values, or lie outside the file")
    is_text = kind == 2 and number in (tag.DESCRIPTION, tag.NODATA)
    if not is_text and (number not in _TAGS or kind not in _SIZES or count > _MOST_ENTRIES):
        return taken
    values = inline[:size]
    if size > len(inline):
        (place,) = struct.unpack(order + ("Q" if big else "I"), inline)
        here = file.tell()
        file.seek(place)
        values = file.read(min(size, 2**12) if is_text else size)
        file.seek(here)
    if is_text:
        texts.setdefault(number, values.split(b"\0")[0].decode("ascii", "replace").strip())
    else:
        # Of tags that occur twice, tifffile takes the first too.
        tags.setdefault(number, struct.unpack(f"{order}{count}{_SIZES[kind][1]}", values))
    return taken
