"""Heat maps over pictures, on one scale for all pictures and all runs, and sheets of them.

Colours are those of z: below `CLEAR` the picture is seen as it is, from there to `FULL` colours go
from yellow over red to violet, and above they stay. So a good picture stays grey, which it does not
where maps are stretched to each picture's own extremes.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nextpixel.data.image_files import grid, is_written_here, to_uint8, write_image
from nextpixel.data.image_output import check_output
from nextpixel.data.lettering import font, shortened
from nextpixel.errors import UsageError
from nextpixel.files.replacing import check_links

__all__ = ["CLEAR", "FULL", "HeatMaps", "overlay", "strange_sheet"]

CLEAR, FULL = 2.0, 10.0
"""The z below which nothing is coloured, and the z from which on colours stay the same."""

_COLOURS = np.array([[255, 235, 60], [250, 120, 20], [200, 20, 60], [110, 0, 140]], float)
_OPACITY = 0.75
_SOFTWARE = "nextpixel heat map"
_UNUSUAL = re.compile(r"[^\w.-]+")
_LONGEST = 60
_SMALLEST_SIDE = 96
_TILE = 192
_TEXT = 11


class HeatMaps:
    """A folder with a heat map of each picture, called by the picture's name and a digest of it.

    Args:
        folder: is made with its first map; what else lies in it stays.

    Raises:
        UsageError: it is no folder, or another user's link.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).expanduser()
        check_links(self._folder)
        if self._folder.exists() and not self._folder.is_dir():
            raise UsageError(f"‹maps={folder}› is a file; name a folder")

    def place(self, name: str) -> Path:
        """The file for a picture."""
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        safe = _UNUSUAL.sub("-", name)[-_LONGEST:].lstrip("-.")
        return self._folder / f"{safe}.{digest}.png"

    def has(self, name: str) -> bool:
        """Whether there is a heat map of a picture."""
        return is_written_here(self.place(name), _SOFTWARE)

    def add(
        self, names: Sequence[str], x: NDArray[Any], heat: NDArray[np.float64], levels: int
    ) -> None:
        """Write the heat maps of pictures (B, C, H, W), given z (B, H, W).

        Raises:
            UsageError: something that is no heat map lies at a place.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, one, z in zip(names, x, heat, strict=True):
            place = self.place(name)
            if place.exists() and not is_written_here(place, _SOFTWARE):
                raise UsageError(f"{place} is no heat map, and is not replaced; move it away")
            picture = _large(overlay(one, z, levels))
            sheet = np.concatenate([picture, _bar(picture.shape[1])], axis=2)
            write_image(place, sheet, software=_SOFTWARE)


def overlay(x: NDArray[Any], z: NDArray[np.float64], levels: int) -> NDArray[np.uint8]:
    """A picture (C, H, W) in grey with the colours of z (H, W) over it: (3, H, W), 256 levels."""
    grey = to_uint8(x, levels)[:3].mean(axis=0)
    colours, opacity = _colours_of(z)
    mixed = grey * (1 - opacity) + colours * opacity
    return np.asarray(np.rint(mixed), np.uint8)


def strange_sheet(
    path: str | Path,
    shown: Sequence[tuple[Mapping[str, Any], NDArray[Any], NDArray[np.float64]]],
    levels: int,
    column: str,
) -> None:
    """Draw pictures beside their heat maps, each with its name and the value of a column.

    Args:
        path: the .png.
        shown: for each its row, the picture (C, H, W), and z (H, W).
        levels: the number of values of a sub-pixel.
        column: of the row.
    """
    check_output(path, (".png",), option="sheet")
    if not shown:
        raise UsageError("there is no picture to show: none could be scored")
    tiles = []
    for row, x, z in shown:
        plain = np.broadcast_to(
            grid(x[:3][None] if len(x) == 3 else x[:1][None], padding=0, levels=levels),
            (3, *x.shape[1:]),
        )
        pair = [_fitted(plain), _fitted(overlay(x, z, levels))]
        value = row.get(column)
        text = f"{row['name']} ({column} {value:.3g})" if isinstance(value, float) else row["name"]
        tiles.append(_captioned(np.concatenate(pair, axis=2), text))
    sheet = grid(np.stack(tiles), columns=max(1, round(len(tiles) ** 0.5 / 1.4)), padding=4)
    bar = _bar(min(sheet.shape[1], 2 * _TILE))
    whole = np.full((3, sheet.shape[1], bar.shape[2]), 255, np.uint8)
    whole[:, : bar.shape[1]] = bar
    write_image(path, np.concatenate([sheet, whole], axis=2), software=_SOFTWARE)


def _colours_of(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours (3, H, W) and opacity (H, W) of z."""
    share = np.clip((np.nan_to_num(z) - CLEAR) / (FULL - CLEAR), 0, 1)
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(share, places, part) for part in _COLOURS.T])
    # A quarter of the way up a colour is as strong as it gets: weak ones are weak, not absent.
    return colours, _OPACITY * np.clip(4 * share, 0, 1)


def _bar(height: int) -> NDArray[np.uint8]:
    """A colour bar on white with its z, (3, height, width)."""
    z = np.linspace(FULL, 0, max(height - 2 * _TEXT, 1))[:, None].repeat(10, axis=1)
    colours, opacity = _colours_of(z)
    bar = np.rint(160 * (1 - opacity) + colours * opacity).astype(np.uint8)
    picture = Image.new("RGB", (48, height), (255, 255, 255))
    picture.paste(Image.fromarray(bar.transpose(1, 2, 0)), (6, _TEXT))
    draw, letters = ImageDraw.Draw(picture), font(_TEXT)
    draw.text((6, 0), "z", (0, 0, 0), letters, anchor="lt")
    for value in (FULL, (FULL + CLEAR) / 2, CLEAR, 0.0):
        row = _TEXT + (1 - value / FULL) * (height - 2 * _TEXT)
        draw.text((20, row), f"{value:g}", (0, 0, 0), letters, anchor="lm")
    return np.asarray(picture).transpose(2, 0, 1)


def _large(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Small pictures with each pixel as a square, so that the colour bar fits beside them."""
    scale = -(-_SMALLEST_SIDE // min(x.shape[1:])) if min(x.shape[1:]) < _SMALLEST_SIDE else 1
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


def _fitted(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture in a square of a sheet."""
    sides = max(x.shape[1:])
    if (scale := _TILE // sides) > 1:
        x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    picture = Image.fromarray(np.ascontiguousarray(x.transpose(1, 2, 0)))
    picture.thumbnail((_TILE, _TILE))
    tile = Image.new("RGB", (_TILE, _TILE), (255, 255, 255))
    tile.paste(picture, ((_TILE - picture.width) // 2, (_TILE - picture.height) // 2))
    return np.asarray(tile).transpose(2, 0, 1)


def _captioned(x: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A picture with a line of text below."""
    picture = Image.new("RGB", (x.shape[2], x.shape[1] + _TEXT + 4), (255, 255, 255))
    picture.paste(Image.fromarray(np.ascontiguousarray(x.transpose(1, 2, 0))), (0, 0))
    text = shortened(text, _TEXT, x.shape[2])
    ImageDraw.Draw(picture).text((0, x.shape[1] + 2), text, (0, 0, 0), font(_TEXT))
    return np.asarray(picture).transpose(2, 0, 1)
