"""One undecoded picture, what a set of them have in common, and words for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.decoding import ImageHead, convert
from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.reading import PictureFile, read_image
from nextpixel.settings.preparation import Preparation

__all__ = [
    "Picture",
    "converted_channels",
    "files_words",
    "labels_of",
    "listed",
    "occurring_classes",
    "require_equal",
    "require_large",
    "shared_channels",
    "size_words",
]

_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One undecoded picture.

    Attributes:
        name: What it is called within its set.
        where: What errors call it.
        open: Gives its file, or the picture that Pillow has read.
        stamp: Changes when the content does.
        label: Its class, or None.
        split: Which split it belongs to.
        head: What is known of it before it is decoded.
    """

    name: str
    where: str
    open: Callable[[], PictureFile]
    stamp: str
    label: str | int | None = None
    split: str = "train"
    head: ImageHead = ImageHead((1, 1, 1))

    def read(self, reading: int) -> NDArray[Any]:
        """Decode its pixels."""
        return read_image(
            self.open(), name=self.where, page=self.head.page, reading=reading, any_number=True
        )

    @property
    def has_alpha(self) -> bool:
        """Whether the last of its channels is opacity."""
        return self.head.shape[0] == 4 and not self.head.has_bands


def shared_channels(pictures: Sequence[Picture], preparation: Preparation) -> int:
    """The channels that are asked for, or those that the pictures need."""
    asked, natural = preparation.channels, [picture.head.shape[0] for picture in pictures]
    banded = [picture for picture in pictures if picture.head.has_bands]
    if banded:
        first = banded[0]
        bands = first.head.shape[0]
        other = next((p for p in pictures if p.head.shape[0] != bands), None)
        if other is not None:
            raise DataError(
                f"{first.where} has {bands} bands, but {other.where} has {other.head.shape[0]}"
                " channels; use pictures of one kind"
            )
        if asked not in (None, bands):
            raise DataError(
                f"{first.where} has {bands} bands, but ‹channels={asked}› was given; leave it out"
            )
        return bands
    if asked not in (None, 1, 3, 4):
        raise DataError(f"‹channels={asked}› must be 1, 3 or 4 for pictures, or left out")
    return asked or _choose_channels(pictures, natural, preparation.reading)


def converted_channels(
    pictures: Sequence[Picture], preparation: Preparation, channels: int
) -> list[str]:
    """Notes of pictures that were not asked to become what others are."""
    if preparation.channels is not None or preparation.reading == 1:
        return []
    notes, count = [], len(pictures)
    clear = sum(picture.has_alpha for picture in pictures)
    grey = sum(picture.head.shape[0] == 1 for picture in pictures)
    if channels != 4 and 0 < clear < count:
        notes.append(
            f"{clear} of {count} pictures have opacity and the others none: transparent pixels are"
            " laid on white; ‹channels=4› keeps opacity"
        )
    if channels == 3 and grey:
        notes.append(f"{grey} of {count} pictures are grey, and become RGB as the others are")
    return notes


def _choose_channels(pictures: Sequence[Picture], natural: list[int], reading: int) -> int:
    """Choose 4 if all have opacity and any is transparent, else 3 if any is coloured, else 1.

    What counts is the pixels: grey scans saved as RGB need one channel, and two more would flatter
    bits/dim.
    """
    if set(natural) == {4} and any(
        x is not None and x[3].min() < 255 for x in (_sound(p, 4, reading) for p in pictures)
    ):
        return 4
    coloured = (
        picture for picture, channels in zip(pictures, natural, strict=True) if channels > 1
    )
    for x in (_sound(picture, 3, reading) for picture in coloured):
        if x is not None and ((x[0] != x[1]).any() or (x[1] != x[2]).any()):
            return 3
    return 1


def _sound(picture: Picture, channels: int, reading: int) -> NDArray[Any] | None:
    """Decode a picture; None if it is broken, which decoding all pictures reports."""
    try:
        return convert(picture.read(reading), channels)
    except (ImageError, FileNotFoundError):
        return None


def require_large(pictures: Sequence[Picture], small: Sequence[int], size: tuple[int, int]) -> None:
    """Raise `DataError` if any are too small for a size."""
    if small:
        sizes = [picture.head.shape[1:] for picture in pictures]
        first = small[0]
        raise DataError(
            f"{len(small)} of {len(pictures)} pictures are smaller than size {size_words(size)},"
            f" the first {pictures[first].where} ({size_words(sizes[first])}), and pictures are"
            f" never enlarged; use size {min(min(s) for s in sizes)} or less, or skip them"
            " with ‹skip_broken=True›"
        )


def require_equal(pictures: Sequence[Picture]) -> None:
    """Raise `DataError` if pictures differ in size."""
    sizes = [picture.head.shape[1:] for picture in pictures]
    for picture, size in zip(pictures, sizes, strict=True):
        if size != sizes[0]:
            raise DataError(
                f"pictures differ in size: {pictures[0].where} has {size_words(sizes[0])} pixels,"
                f" {picture.where} {size_words(size)}; give ‹size› to crop and reduce them all (at"
                f" most {min(min(s) for s in sizes)}), or ‹ragged=True› to keep their sizes and"
                " train on crops"
            )


def occurring_classes(
    pictures: Sequence[Picture], names: tuple[str, ...]
) -> tuple[list[Picture], tuple[str, ...]]:
    """Number the classes that occur among pictures with numbered labels, in their order."""
    found = sorted({p.label for p in pictures if isinstance(p.label, int)})
    if not found or found[0] < 0 or found[-1] >= len(names):
        return list(pictures), names  # `labels_of` says what is wrong.
    place = {label: k for k, label in enumerate(found)}
    numbered = [
        replace(p, label=place[p.label]) if isinstance(p.label, int) else p for p in pictures
    ]
    return numbered, tuple(names[label] for label in found)


def labels_of(pictures: Sequence[Picture], classes: tuple[str, ...]) -> NDArray[np.int64] | None:
    """The numbers of the classes of pictures; None if none has a class."""
    if all(picture.label is None for picture in pictures):
        return None
    index = {name: k for k, name in enumerate(classes)}
    labels = np.empty(len(pictures), np.int64)
    for k, picture in enumerate(pictures):
        label = picture.label
        number = index.get(label, -1) if isinstance(label, str) else label
        if number is None:
            raise DataError(
                f"{picture.where} has no label, but others have; give it one, or"
                " ‹ignore_labels=True›"
            )
        if not 0 <= number < len(classes):
            raise DataError(
                f"{picture.where} has the label {label}, but labels must lie in 0 ..."
                f" {len(classes) - 1}"
            )
        labels[k] = number
    return labels


def listed(what: str, items: Sequence[str], count: int) -> str:
    """A note of some of a number of pictures, with the first of them by name."""
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    verb = "is" if len(items) == 1 else "are"
    return f"{len(items)} of {count} pictures {verb} {what}: {'; '.join(items[:_LISTED])}{more}"


def files_words(count: int) -> str:
    """A number of files."""
    return f"{count} file{'s' * (count != 1)}"


def size_words(size: tuple[int, ...]) -> str:
    """Height and width."""
    return f"{size[0]}x{size[1]}"
