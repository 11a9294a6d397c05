"""Where pictures go: a grid, an array, or a folder with one file each."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.image_files import grid, write_image
from nextpixel.errors import UsageError
from nextpixel.replacing import check_links, replace_file

__all__ = ["check_out", "check_rows", "write_pictures"]

_MOST_ROWS = 1024


def check_out(out: Path, endings: Sequence[str]) -> None:
    """Raises unless a file of that name can be written, or a folder if "" is among the endings;
    before any work.
    """
    if out.suffix not in endings:
        known = ", ".join(ending or "a folder's name" for ending in endings)
        raise ValueError(f"{out} ends in {out.suffix or 'nothing'}; use {known}")
    folder = out.parent if out.suffix else out
    check_links(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"{out} cannot be written: {folder} is read-only; choose another place"
        )


def check_rows(classes: int, n: int) -> None:
    """Raises if a picture of each class, unless classes are named, are far more than were asked for.

    How many classes there are is up to whoever made the checkpoint.
    """
    if classes > max(n, _MOST_ROWS):
        raise UsageError(
            f"the model has {classes:,} classes, so that a picture of each is {classes:,} pictures;"
            " choose one with ‹class›, or draw them all with ‹class=all›"
        )


def write_pictures(
    out: Path, x: NDArray[np.integer], levels: int, *, columns: int | None = None, scale: int = 1
) -> None:
    """Writes (n, C, H, W) integers to a .png grid, an .npy file, or a folder of pictures, by the
    name's ending.
    """
    if out.suffix == ".npy":
        with replace_file(out) as place:
            np.save(place, x.astype(np.uint8 if levels <= 256 else np.uint16))
    elif out.suffix == ".png":
        write_image(out, grid(x, columns=columns, levels=levels, scale=scale))
    else:
        digits = len(str(len(x) - 1))
        for i, image in enumerate(x):
            write_image(out / f"{i:0{digits}d}.png", image, levels=levels)
