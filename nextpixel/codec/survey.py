"""What pictures hold, before a model is chosen for them: colours, levels and sizes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nextpixel.codec.errors import CodecError
from nextpixel.codec.pictures import channels_of, pixels_of, shown

__all__ = ["Survey", "survey"]

Picture: TypeAlias = NDArray[np.uint8]
Progress = Callable[[int, int], None]

_MOST_HELD = 1 << 28
_LEVELS = tuple(1 + steps for steps in range(1, 256) if 255 % steps == 0)
"""Levels that files of 256 show exactly: 2, 4, 6, 16, 18, 52, 86 and 256."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Pictures that one model can code.

    Attributes:
        channels: those of most pixels.
        levels: the fewest that tell all values apart, among those that files show exactly.
        pictures: the integers (C, H, W), 0 … levels-1; of very many pictures an even choice.
        sub_pixels: of all pictures of so many channels.
    """

    channels: int
    levels: int
    pictures: tuple[Picture, ...]
    sub_pixels: int


def survey(
    paths: Sequence[Path], *, most: int = _MOST_HELD, progress: Progress | None = None
) -> Survey:
    """Looks at the pictures that a model can code; the others are passed over.

    Args:
        paths: files.
        most: how many sub-pixels are read; of more, an even choice of the pictures.
        progress: told how many files have been read, and of how many.

    Raises:
        CodecError: there are none.
    """
    sizes: dict[int, dict[Path, int]] = {}
    for path in paths:
        try:
            found = channels_of(path)
        except _NO_PICTURE:
            continue
        if found is not None:
            sizes.setdefault(found[0], {})[path] = found[1]
    if not sizes:
        raise _none_of(paths)
    channels = max(sizes, key=lambda kind: sum(sizes[kind].values()))
    of_kind = sizes[channels]
    every = -(-sum(of_kind.values()) // most)
    chosen = list(of_kind)[::every]
    held: list[Picture] = []
    for number, path in enumerate(chosen, start=1):
        if (picture := pixels_of(path, channels)) is not None:
            held.append(picture)
        if progress is not None:
            progress(number, len(chosen))
    if not held:
        raise _none_of(paths)
    levels = _levels(held)
    at = np.zeros(256, np.uint8)
    at[shown(levels)] = np.arange(levels)
    return Survey(
        channels=channels,
        levels=levels,
        pictures=tuple(at[picture] for picture in held),
        sub_pixels=sum(of_kind.values()),
    )


def _none_of(paths: Sequence[Path]) -> CodecError:
    which = f"{paths[0]} is no" if len(paths) == 1 else f"none of {len(paths):,} files is a"
    return CodecError(
        f"{which} picture that a model can code; give at least one grey or RGB picture of up to 8"
        " bits, undamaged, as a PNG, BMP or PPM file"
    )


_NO_PICTURE = (
    *(UnidentifiedImageError, OSError, ValueError, SyntaxError),
    Image.DecompressionBombError,
)


def _levels(pictures: Iterable[Picture]) -> int:
    """The fewest levels that show all values."""
    there = np.zeros(256, bool)
    for picture in pictures:
        there |= np.bincount(picture.ravel(), minlength=256) > 0
    values = set(np.flatnonzero(there).tolist())
    return next(levels for levels in _LEVELS if values <= set(shown(levels).tolist()))
