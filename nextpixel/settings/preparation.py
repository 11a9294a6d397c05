"""Preparation: how stored values become the integers that a model sees, and how they are split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from nextpixel.errors import UsageError
from nextpixel.settings.records import KEYS_OF_0_1, read_record, record_keys, write_record
from nextpixel.settings.stored_values import checked_missing, checked_range, checked_values

__all__ = ["Preparation", "Size", "automatic_size", "checked_size", "outliers", "pair"]

Size: TypeAlias = int | tuple[int, int] | Literal["auto"] | None

_MOST_LEVELS = 65536
_LONGEST_SIDE = 65536
_MOST_CHANNELS = 4096


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How images are prepared and split. It is recorded with a model, and repeated for other data.

    `nextpixel.data.load.load_data` resolves it: ``ImageData.preparation`` has the size, levels,
    channels and words that were found in the data where this one leaves them open.

    Example:
        >>> Preparation(size=32, levels=8).size
        (32, 32)
        >>> Preparation(levels=1)
        Traceback (most recent call last):
        nextpixel.errors.UsageError: levels=1 must be a whole number from 2 to 65536
    """

    size: Size = None
    """Crop each image around its centre to this shape, and reduce it to this size: a side, or
    (height, width), 48x64 on the command line. Images are never enlarged. ``auto`` leaves arrays as
    they are, and pictures too if all have one size of at most 64 pixels a side; other pictures
    become squares of 32 pixels, or of the shortest side that occurs. By default images keep their
    size, except that ``nextpixel train`` and ``nextpixel embed`` use ``auto``."""

    resize: Literal["average", "nearest", "pictures"] | None = None
    """How images are reduced to ``size``. ``average``: the mean of each area. ``nearest``: its
    middle pixel, for categorical and binary values. ``pictures``: average pictures, and keep arrays
    as they are. By default what suits the values, and ``pictures`` for ``size=auto``."""

    levels: int | None = None
    """Quantise to this number of levels: ``value * levels // from_levels``. An array whose values
    are all below it is kept as it is. By default all levels are kept."""

    from_levels: int | None = None
    """The number of levels of the stored values. By default 256 for pictures, fewer for grey of
    fewer than 8 bits, and for 16-bit pictures the power of two above their highest value. For
    arrays, 2 if no value is above 1; the highest value + 1 for bytes that are all below 32;
    otherwise 256 for bytes, 65536 for 16-bit values that use the highest bit, and the highest value
    + 1 for other integers."""

    range: tuple[int | float, int | float] | None = None
    """For floats: the lowest and the highest value that there can be. Each value is rounded to the
    nearest of ``from_levels`` (by default ``levels``, or 256) equally spaced values between the
    two; ``0 1`` restores bytes that were divided by 255. Values outside are refused."""

    offset: int | None = None
    """An integer to add to every stored value, so that none is negative, such as 1024 for
    Hounsfield units."""

    values: tuple[int | float, ...] | Literal["auto"] | None = None
    """The table of values that may occur, such as -1,1 or 11,21,90: the first becomes level 0, and
    so on. ``auto`` finds the values that occur. By default only arrays of exactly two values have a
    table."""

    one_hot: bool | None = None
    """Read the K channels of an array as one-hot categories: one channel with K levels. By default
    this is done if every pixel is 1 in exactly one of several channels, and 0 in the others."""

    missing: int | float | Literal["nan"] | None = None
    """The stored value that means missing, such as nan or 255. It becomes one more level, above the
    others. By default NaN is refused."""

    binarise: Literal["threshold", "draw"] | None = None
    """Reduce to two levels. ``threshold``: values in the upper half become 1. ``draw``: each value
    becomes 1 with the probability value / (from_levels - 1)."""

    channels: int | None = None
    """Convert pictures to grey (1), RGB (3) or RGBA (4). For arrays, the number of channels that is
    expected, which also tells (N, C, H, W) from (N, H, W, C). By default what the images have."""

    ignore_labels: bool = False
    """Ignore labels and sub-folder names."""

    map_levels: int | None = None
    """The number of levels of integer maps, such as the size of a codebook. By default 2 if no
    value is above 1; the highest value + 1 for bytes that are all below 32; 256 for other bytes;
    else the highest value + 1."""

    text_encoder: str | tuple[str, ...] | None = None
    """The function that turns captions into vectors, MODULE:FUNCTION, or the words of a bag of
    words. By default a bag of the 512 most frequent words of the training captions."""

    validation: int | float = 0.1
    """The share of the training images (below 1), or their number, that becomes the validation
    split if the source has none."""

    test: int | float = 0.1
    """The share of the training images (below 1), or their number, that becomes the test split if
    the source has none."""

    split_seed: int = 0
    """The seed of the split, and of ``binarise=draw``."""

    split_by: Literal["content", "index"] | None = None
    """What decides the split of an image. ``content``: a hash of its values, so that no image moves
    when others are added or removed, and copies stay together. ``index``: its place in the source.
    By default the content, but the index for digits, and for arrays and tables that have a test
    split of their own."""

    skip_broken: bool = False
    """Skip pictures that cannot be read or are smaller than the requested size, and list them."""

    skip_small: bool = False
    """Skip pictures smaller than the requested size. ``size=auto`` sets it if few are much smaller
    than the others."""

    standardise: bool = False
    """Scale maps of real numbers to mean 0 and deviation 1 over the training images. Vectors need
    no option: a model always standardises them."""

    map_scale: tuple[float, ...] | None = None
    """The mean and deviation of each channel of maps. By default those of the training maps."""

    attributes: tuple[str, ...] | None = None
    """What the entries of a vector say that is made of several labels of an image. By default the
    labels that occur."""

    ragged: bool = False
    """Accept pictures that differ in size, to train on crops of them."""

    reading: int = 3
    """The rules by which files are read. Rules 1 are those of version 0.1.0, whose models repeat
    them: 16-bit pictures keep their upper byte, stacks their first page and TIFF files their first
    three bands; labels 0 ... highest are all classes, and names are in alphabetical order. Rules 2
    resize arrays as if they were pictures, and take all bytes above 1 for 256 levels. By rules 1
    and 2, no table of labels is looked for."""

    def __post_init__(self) -> None:
        self._set("size", checked_size(self.size, auto=True))
        for name, low, high in (
            ("levels", 2, _MOST_LEVELS),
            ("from_levels", 2, _MOST_LEVELS),
            ("channels", 1, _MOST_CHANNELS),
            ("split_seed", 0, 2**63 - 1),
            ("map_levels", 2, _MOST_LEVELS),
            ("offset", -(2**53), 2**53),
            ("reading", 1, 3),
        ):
            value = getattr(self, name)
            if value is not None or name in ("split_seed", "reading"):
                self._set(name, _checked_integer(name, value, low, high))
        for name in ("validation", "test"):
            self._set(name, _checked_amount(name, getattr(self, name)))
        for name in ("ignore_labels", "ragged", "skip_broken", "skip_small", "standardise"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"‹{name}={getattr(self, name)!r}› must be True or False")
        self._set("text_encoder", _checked_encoder(self.text_encoder))
        self._set("map_scale", _checked_scale(self.map_scale))
        self._set("attributes", _checked_names("attributes", self.attributes))
        self._check_meaning()
        if self.split_by not in (None, "content", "index"):
            raise UsageError(f"‹split_by={self.split_by!r}› must be 'content' or 'index'")
        if self.binarise not in (None, "threshold", "draw"):
            raise UsageError(f"‹binarise={self.binarise!r}› must be 'threshold' or 'draw'")
        if self.binarise is not None and self.levels not in (None, 2):
            raise UsageError(
                f"‹binarise={self.binarise}› gives 2 levels, but ‹levels={self.levels}› was given;"
                " give one of the two"
            )
        if self.size == "auto" and self.ragged:
            raise UsageError(
                "‹size=auto› makes all images one size, and ‹ragged=True› keeps their sizes; give"
                " one of the two"
            )

    def _check_meaning(self) -> None:
        """Check the fields that say what stored values mean."""
        self._set("range", checked_range(self.range))
        self._set("values", checked_values(self.values))
        self._set("missing", checked_missing(self.missing))
        if self.one_hot not in (None, True, False):
            raise UsageError(f"‹one_hot={self.one_hot!r}› must be True or False")
        if self.resize not in (None, "average", "nearest", "pictures"):
            raise UsageError(f"‹resize={self.resize!r}› must be 'average', 'nearest' or 'pictures'")
        given = [name for name in ("range", "offset", "values") if getattr(self, name) is not None]
        if self.one_hot:
            given.append("one_hot")
        if len(given) > 1:
            raise UsageError(
                f"‹{given[0]}› and ‹{given[1]}› both say what stored values mean; give one of them"
            )
        if self.values is not None or self.one_hot:
            categories = "one_hot" if self.one_hot else "values"
            count = len(self.values) if isinstance(self.values, tuple) else self.levels
            if self.binarise is not None or self.levels not in (None, count):
                cause = "levels" if self.binarise is None else "binarise"
                raise UsageError(
                    f"‹{categories}› are categories, which ‹{cause}={getattr(self, cause)}› cannot"
                    " reduce; leave out one of them"
                )
        if self.missing is not None and (self.one_hot or self.resize == "average"):
            other = "one_hot" if self.one_hot else "resize='average'"
            raise UsageError(f"‹missing› does not go with ‹{other}›; leave out one of them")
        if isinstance(self.values, tuple) and self.missing in self.values:
            raise UsageError(
                f"‹missing={self.missing}› is also one of the ‹values›; leave it out there"
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """This preparation as JSON."""
        return write_record(self)

    @classmethod
    def from_json(cls, record: object) -> "Preparation":
        """Read what `to_json` wrote, or the record of version 0.1.0.

        Raises:
            UsageError: If the record is damaged.
        """
        if isinstance(record, dict) and "source" in record:
            keys = record_keys(record, cls, KEYS_OF_0_1)
            same = KEYS_OF_0_1 & cls.__dataclass_fields__.keys()
            renamed = {"split_seed": keys["seed"]} if "seed" in keys else {}
            ignored = {"ignore_labels": True} if keys.get("labels") is False else {}
            record = {name: keys[name] for name in keys.keys() & same} | renamed | ignored
            record |= {"split_by": "index", "reading": 1}
        return read_record(cls, record)


def automatic_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The size that "auto" stands for.

    None, to keep the sizes, if all are equal and at most 64; else a square of at most 32.
    """
    if len(set(sizes)) == 1 and max(sizes[0]) <= 64:
        return None
    side = min(32, *map(min, sizes))
    return side, side


def outliers(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Which images are so much smaller than the others that they must not decide the size.

    Those whose shorter side is less than half of what the middle image gives, at most 32, if they
    are at most one in ten; else none.

    Example:
        >>> outliers([(8, 8)] * 20 + [(2, 90)])
        [20]
    """
    sides = [min(size) for size in sizes]
    usual = min(32, sorted(sides)[len(sides) // 2])
    small = [k for k, side in enumerate(sides) if 2 * side < usual]
    return small if 10 * len(small) <= len(sides) else []


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Read a side, or (height, width), as (height, width)."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def checked_size(size: Any, *, auto: bool = False) -> Any:
    """A side or (height, width) as integers; None, and "auto" where it may be, as it is.

    Raises:
        UsageError: it is none of these.
    """
    if size is None or (auto and isinstance(size, str) and size == "auto"):
        return size
    named = "'auto', " if auto else ""
    sides = [size, size] if not isinstance(size, list | tuple) else list(size)
    shown = f"{size[0]}x{size[1]}" if isinstance(size, list | tuple) and len(size) == 2 else size
    if len(sides) != 2 or not all(
        _is_integer(side) and 1 <= side <= _LONGEST_SIDE for side in sides
    ):
        raise UsageError(
            f"‹size={shown}› must be {named}a side in pixels from 1 to {_LONGEST_SIDE}, or"
            " (height, width)"
        )
    return int(sides[0]), int(sides[1])


def _checked_integer(name: str, value: Any, low: int, high: int) -> int:
    if not (_is_integer(value) and low <= value <= high):
        raise UsageError(f"‹{name}={value!r}› must be a whole number from {low} to {high}")
    return int(value)


def _checked_amount(name: str, amount: Any) -> int | float:
    number = _is_integer(amount) or isinstance(amount, float)
    if not number or not 0 <= amount < 2**63 or (amount >= 1 and amount != math.floor(amount)):
        raise UsageError(
            f"‹{name}={amount!r}› must be a fraction from 0 to below 1, or a number of images"
        )
    return int(amount) if amount >= 1 or _is_integer(amount) else float(amount)


def _checked_encoder(encoder: Any) -> Any:
    if encoder is None or (isinstance(encoder, str) and encoder):
        return encoder
    if not (
        isinstance(encoder, list | tuple)
        and encoder
        and all(isinstance(word, str) for word in encoder)
    ):
        raise UsageError(
            f"‹text_encoder={encoder!r:.60}› must be words, or the name of a function; the function"
            " itself is an argument of load_data"
        )
    return tuple(encoder)


def _checked_scale(scale: Any) -> tuple[float, ...] | None:
    if scale is None:
        return None
    good = isinstance(scale, list | tuple) and scale and len(scale) % 2 == 0
    good = good and all(isinstance(number, float) and math.isfinite(number) for number in scale)
    if not good or min(scale[1::2]) <= 0:
        raise UsageError(
            f"‹map_scale={scale!r:.60}› must be a finite mean and a positive deviation of each"
            " channel"
        )
    return tuple(scale)


def _checked_names(name: str, values: Any) -> tuple[str, ...] | None:
    if values is None:
        return None
    good = isinstance(values, list | tuple) and values and all(isinstance(v, str) for v in values)
    if not good or len(set(values)) < len(values):
        raise UsageError(f"‹{name}={values!r:.60}› must be different names")
    return tuple(values)


def _is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python or numpy, and not True or False."""
    return not isinstance(value, bool) and hasattr(value, "__index__")
