"""Write images as a grid, an array, or a folder with a file for each."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.image_files import grid, write_image
from nextpixel.errors import UsageError
from nextpixel.files.replacing import check_links, replace_file

__all__ = ["check_output", "write_images"]


def check_output(
    path: str | Path, endings: Sequence[str] = (".png", ".npy"), option: str = "out"
) -> None:
    """Raise before any work if a file cannot be written.

    Args:
        path: The file or folder. The folder that it lies in is created.
        endings: The endings that are accepted; "" is a folder.
        option: The parameter that gives the path.

    Raises:
        UsageError: If the name ends otherwise, or the folder is another user's link.
        PermissionError: If the folder is read-only.
    """
    path = Path(path)
    if path.suffix not in endings:
        known = ", ".join(ending or "the name of a folder" for ending in endings)
        raise UsageError(f"‹{option}={path}› ends in {path.suffix or 'nothing'}; use {known}")
    folder = path.parent if path.suffix else path
    check_links(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"{path} cannot be written: {folder} is read-only; choose another place"
        )


def write_images(
    path: str | Path,
    x: NDArray[np.integer[Any]],
    levels: int,
    *,
    columns: int | None = None,
    enlarge: int = 1,
) -> None:
    """Write integers 0 ... levels-1 in the way that the ending of the name says.

    Args:
        path: A ``.png`` for a grid, an ``.npy`` for the integers, or a folder, which is
            created, for a file each.
        x: (n, C, H, W); for a folder or an ``.npy`` also with more axes before those.
        levels: The number of values of a sub-pixel.
        columns: The number of images in a row of the grid; None for a square grid.
        enlarge: The side in the grid of the square that shows a pixel.

    Raises:
        UsageError: If the name has another ending.
    """
    path = Path(path)
    if path.suffix == ".npy":
        with replace_file(path) as place:
            np.save(place, x.astype(np.uint8 if levels <= 256 else np.uint16))
    elif path.suffix == ".png":
        write_image(path, grid(x, columns=columns, levels=levels, scale=enlarge))
    elif path.suffix:
        raise UsageError(f"‹path={path}› ends in {path.suffix}; use .png, .npy or a folder's name")
    else:
        check_links(path)
        path.mkdir(exist_ok=True)
        x = x.reshape(-1, *x.shape[-3:])
        digits = len(str(len(x) - 1))
        for i, image in enumerate(x):
            write_image(path / f"{i:0{digits}d}.png", image, levels=levels)
