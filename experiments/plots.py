"""How the experiments draw: curves in colours that everybody can tell apart, grids with names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Curve", "framed", "validation_curves"]

# Okabe and Ito (2008), without yellow and black.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")
_ROOM = 0.04
_GAP = 4
_TEXT = 13


@dataclass(frozen=True)
class Curve:
    """Validations of one run.

    Attributes:
        name: for the legend.
        x, values: of each validation, in order.
        selected: which validation's weights were kept.
        restarts: where on the x axis the run was resumed with another length.
    """

    name: str
    x: Sequence[float]
    values: Sequence[float]
    selected: int
    restarts: Sequence[float] = ()


def validation_curves(
    curves: Sequence[Curve], path: Path, *, x: str, y: str, highest: float | None = None
) -> None:
    """Draws runs in the order of their selected values: lower is better.

    Args:
        curves: the runs.
        path: the picture to write.
        x, y: what the axes are.
        highest: values above it are cut off; None shows all.
    """
    ordered = sorted(curves, key=lambda curve: curve.values[curve.selected])
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(ordered):
        colour = _COLOURS[number % len(_COLOURS)]
        chosen = curve.values[curve.selected]
        axes.plot(
            curve.x,
            curve.values,
            marker=".",
            linestyle=_STYLES[number // len(_COLOURS) % len(_STYLES)],
            color=colour,
            label=f"{curve.name}: {chosen:.2f}",
        )
        axes.plot(curve.x[curve.selected], chosen, marker="o", markersize=8.0, color=colour)
        if curve.selected != len(curve.x) - 1:
            axes.annotate(
                f"{curve.values[-1]:.2f}",
                (curve.x[-1], curve.values[-1]),
                textcoords="offset points",
                xytext=(6, 0),
                color=colour,
                fontsize=8,
            )
        for place in curve.restarts:
            axes.axvline(place, color=colour, linestyle=":", linewidth=1.0)
    shown = [v for curve in ordered for v in curve.values if highest is None or v <= highest]
    room = _ROOM * (max(shown) - min(shown))
    axes.set_ylim(min(shown) - room, max(shown) + room)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    figure.legend(
        title="large dot: selected\ndotted line: lengthened",
        loc="outside right upper",
        alignment="left",
    )
    figure.savefig(path, dpi=100)


def framed(
    sheet: NDArray[np.uint8],
    path: Path,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[tuple[str, int]] = (),
) -> None:
    """Writes a grid of images with names beside its rows and above its columns.

    Args:
        sheet: what `nextpixel.data.image_files.grid` returns, (C, H, W), with one pixel of padding.
        path: the picture to write.
        rows: names of groups of equally many rows; white lines separate the groups.
        columns: names of groups of columns, and how many columns each has; likewise.
    """
    font = ImageFont.load_default(_TEXT)
    rows = rows or ("",)
    columns = columns or (("", 1),)
    height, width = (sheet.shape[1] - 1) // len(rows), sheet.shape[2] - 1
    each = width // sum(count for _, count in columns)
    left = max(round(font.getlength(name)) for name in rows) + 2 * _GAP if any(rows) else 0
    top = _TEXT + 2 * _GAP if any(name for name, _ in columns) else 0
    size = left + width + len(columns) * _GAP, top + len(rows) * (height + _GAP)
    picture = Image.new("RGB" if len(sheet) == 3 else "L", size, "white")
    draw = ImageDraw.Draw(picture)
    last = sheet[0] if len(sheet) == 1 else np.moveaxis(sheet, 0, 2)
    pixels = Image.fromarray(np.ascontiguousarray(last))
    for number, row in enumerate(rows):
        y = top + number * (height + _GAP)
        draw.text((_GAP, y + height // 2), row, "black", font, anchor="lm")
        begin = 0
        for place, (column, count) in enumerate(columns):
            x, end = left + begin * each + place * _GAP, begin + count
            if number == 0:
                draw.text((x + count * each // 2, top // 2), column, "black", font, anchor="mm")
            part = (begin * each, number * height, end * each + 1, (number + 1) * height + 1)
            picture.paste(pixels.crop(part), (x, y))
            begin = end
    picture.save(path, optimize=True)
