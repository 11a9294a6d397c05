"""Write images as a grid, an array, or a folder with a file for each."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nextpixel.data.image_files import grid, is_written_here, write_image
from nextpixel.data.lettering import font, legible
from nextpixel.errors import UsageError
from nextpixel.files.arrays import write_npy
from nextpixel.files.regular import kind_of
from nextpixel.files.replacing import check_links, new_folder

__all__ = ["check_folder", "check_output", "write_images"]

_SOFTWARE = "nextpixel"
"""Tells files of an earlier call, which may be replaced, from somebody's pictures."""

_UNUSUAL = re.compile(r"[^\w.-]+")
_OURS = re.compile(r"[0-9]+(_[0-9]+)?(_[\w.-]+)?\.png")
_LONGEST_NAME = 40
_LOWEST_TEXT, _HIGHEST_TEXT = 9, 16


def check_output(
    path: str | Path, endings: Sequence[str] = (".png", ".npy"), option: str = "out"
) -> None:
    """Raise before any work if a file cannot be written.

    Args:
        path: The file, or the folder for a file each. The folder that it lies in is created.
        endings: The endings that are accepted; "" is a folder.
        option: The parameter that gives the path.

    Raises:
        UsageError: If the name ends otherwise, the folder is another user's link, or the file is
            not a regular one.
        PermissionError: If the folder is read-only.
    """
    path = Path(path)
    if path.suffix not in endings:
        *others, last = (ending or "the name of a folder" for ending in endings)
        known = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"‹{option}={path}› ends in {path.suffix or 'nothing'}; give {known}")
    folder = path if not path.suffix and path.exists() else path.parent
    check_links(folder)
    if not path.suffix:
        check_folder(path)
    elif not path.is_symlink() and (kind := kind_of(path)) is not None:
        raise UsageError(f"‹{option}={path}› is {kind}, not a regular file; use another name")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"{path} cannot be written: {folder} is read-only; choose another place"
        )


def write_images(
    path: str | Path,
    x: NDArray[Any],
    levels: int,
    *,
    columns: int | None = None,
    rows: Sequence[int] = (),
    row_names: Sequence[str] = (),
    enlarge: int = 1,
    names: Sequence[str] = (),
) -> None:
    """Write images in the way that the ending of the name says.

    Args:
        path: A ``.png`` for a grid, an ``.npy`` for the numbers as they are, or a folder, which is
            created, for a file each, such as ``07_cat.png``.
        x: Integers 0 ... levels-1 (n, C, H, W); for a folder also (n, draws, C, H, W), whose files
            are called ``07_1_cat.png``, and for an ``.npy`` any numbers.
        levels: The number of values of a sub-pixel.
        columns, rows: The number of images in a row of the grid, or in each row, see `grid`.
        row_names: What is written beside the first rows of the grid.
        enlarge: Shows each pixel in a grid as a square with a side of this many pixels.
        names: The class of each of n images, or () without.

    Raises:
        UsageError: If the name has another ending.
    """
    path = Path(path)
    if path.suffix == ".npy":
        write_npy(path, x)
    elif path.suffix == ".png":
        sheet = grid(x, columns=columns, rows=rows, levels=levels, scale=enlarge)
        write_image(path, _named_rows(sheet, row_names, x.shape[2] * enlarge + 1))
    elif path.suffix:
        raise UsageError(f"‹path={path}› ends in {path.suffix}; use .png, .npy or a folder's name")
    else:
        check_folder(path)
        _write_folder(path, x, levels, names)


def _write_folder(
    folder: Path, x: NDArray[np.integer[Any]], levels: int, names: Sequence[str]
) -> None:
    """A file for each; none of them is left if one cannot be written."""
    counts, written = x.shape[:-3], []
    with new_folder(folder):
        try:
            for number in np.ndindex(*counts):
                pairs = zip(number, counts, strict=True)
                parts = [f"{k:0{len(str(count - 1))}d}" for k, count in pairs]
                if names and (name := _UNUSUAL.sub("-", names[number[0]])[:_LONGEST_NAME]):
                    parts.append(name)
                written.append(folder / f"{'_'.join(parts)}.png")
                write_image(written[-1], x[number], levels=levels, software=_SOFTWARE)
        except BaseException:
            for file in written:
                file.unlink(missing_ok=True)
            raise


def check_folder(path: Path) -> None:
    """Raise `UsageError` if a folder for images holds anything else than what was written into it.

    Images would be lost among the files of a run or somebody's photographs, or take their place.
    """
    check_links(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise UsageError(
            f"‹out={path}› is {kind_of(path) or 'a file'}, not a folder; choose another name, or"
            " one that ends in .png"
        )
    entries = (
        e for e in path.iterdir() if not (_OURS.fullmatch(e.name) and is_written_here(e, _SOFTWARE))
    )
    other = next(entries, None)
    if other is not None:
        raise UsageError(
            f"‹out={path}› is a folder that holds other things, such as {other.name!r:.80}; name a"
            " new or empty folder, or a .png file for a grid"
        )


def _named_rows(x: NDArray[np.uint8], names: Sequence[str], height: int) -> NDArray[np.uint8]:
    """Write names to the right of the rows of a grid.

    Args:
        x: (C, H, W), 256 levels.
        names: Of the first rows.
        height: Of a row. Rows that are too low for legible text stay without names.
    """
    if not any(names) or height < _LOWEST_TEXT or len(x) not in (1, 3, 4):
        return x
    letters = font(min(height - 1, _HIGHEST_TEXT))
    names = [legible(" ".join(name.split())) for name in names]
    shown = [
        name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} ..." for name in names
    ]
    width = max(math.ceil(letters.getlength(name)) for name in shown)
    margin = Image.new("L", (width + 8, x.shape[1]), 255)
    for row, name in enumerate(shown):
        ImageDraw.Draw(margin).text((4, row * height + height / 2), name, 0, letters, anchor="lm")
    text = np.asarray(margin)[None].repeat(len(x), axis=0)
    if len(x) == 4:
        text[3] = 255
    return np.concatenate([x, text], axis=2)
