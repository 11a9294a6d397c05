"""What pictures hold, before a model is chosen for them: colours, levels and sizes."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nextpixel.codec.errors import CodecError
from nextpixel.codec.pictures import Head, head_of, pixels_of, shown

__all__ = ["Survey", "survey", "taken_by"]

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
    paths: Sequence[Path],
    *,
    of: tuple[int, int] | None = None,
    most: int = _MOST_HELD,
    progress: Progress | None = None,
) -> Survey:
    """Looks at the pictures that a model can code; the others are passed over.

    Args:
        paths: files.
        of: the channels and levels of the model; None for those of most pictures.
        most: how many sub-pixels are read; of more, an even choice of the pictures.
        progress: told how many files have been read, and of how many.

    Raises:
        CodecError: there are none.
    """
    heads = _heads(paths)
    if not heads:
        raise _none_of(paths)
    pixels = Counter[int]()
    for head in heads.values():
        pixels[head.channels[0]] += head.channels[0] * head.pixels
    channels = max(pixels, key=lambda kind: pixels[kind]) if of is None else of[0]
    sizes = {
        path: channels * head.pixels
        for path, head in heads.items()
        if channels == head.channels[0] or (of is not None and channels in head.channels)
    }
    chosen = _even_choice(sizes, most)
    held: list[Picture] = []
    for number, path in enumerate(chosen, start=1):
        picture = pixels_of(path, channels)
        if picture is not None and (of is None or _shows(picture, of[1])):
            held.append(picture)
        if progress is not None:
            progress(number, len(chosen))
    if not held:
        raise _none_of(paths, of)
    levels = _levels(held) if of is None else of[1]
    at = np.zeros(256, np.uint8)
    at[shown(levels)] = np.arange(levels)
    share = sum(picture.size for picture in held) / sum(sizes[path] for path in chosen)
    return Survey(
        channels=channels,
        levels=levels,
        pictures=tuple(at[picture] for picture in held),
        sub_pixels=round(share * sum(sizes.values())),
    )


def taken_by(
    paths: Sequence[Path], models: Collection[tuple[int, int]], *, most: int = _MOST_HELD
) -> dict[tuple[int, int], float]:
    """How many sub-pixels models could code, by their channels and levels.

    Args:
        paths: files.
        models: channels and levels of each.
        most: how many sub-pixels are read, where heads of files do not tell; of more, an even
            choice.
    """
    heads, found = _heads(paths), {}
    for channels, levels in models:
        sizes = {
            p: channels * head.pixels for p, head in heads.items() if channels in head.channels
        }
        told = {
            path
            for path in sizes
            if heads[path].channels[0] == channels and (levels == 256 or heads[path].bits)
        }
        chosen = _even_choice({p: size for p, size in sizes.items() if p not in told}, most)
        there = 0
        for path in chosen:
            picture = pixels_of(path, channels)
            there += sizes[path] if picture is not None and _shows(picture, levels) else 0
        rest = sum(size for path, size in sizes.items() if path not in told)
        share = there / max(1, sum(sizes[path] for path in chosen))
        found[channels, levels] = sum(sizes[path] for path in told) + share * rest
    return found


def _heads(paths: Sequence[Path]) -> dict[Path, Head]:
    """Of the pictures that some model can code."""
    heads = {}
    for path in paths:
        try:
            head = head_of(path)
        except _NO_PICTURE:
            continue
        if head is not None:
            heads[path] = head
    return heads


def _even_choice(sizes: Mapping[Path, int], most: int) -> list[Path]:
    return list(sizes)[:: max(1, -(-sum(sizes.values()) // most))]


def _shows(picture: Picture, levels: int) -> bool:
    """Whether all values are those of so many levels."""
    if levels >= 256:
        return levels == 256
    return _values(picture) <= set(shown(levels).tolist())


def _none_of(paths: Sequence[Path], of: tuple[int, int] | None = None) -> CodecError:
    if of is not None:
        return CodecError(
            f"none of {len(paths):,} files is a picture of the model's {of[0]} channels and {of[1]}"
            " levels; give another ‹model›, or leave it out"
        )
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
    values = set().union(*map(_values, pictures))
    return next(levels for levels in _LEVELS if values <= set(shown(levels).tolist()))


def _values(picture: Picture) -> set[int]:
    return set(np.flatnonzero(np.bincount(picture.ravel(), minlength=256)).tolist())
