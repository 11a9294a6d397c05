"""How the experiments draw curves: colours that everybody can tell apart, and what was selected."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["Curve", "validation_curves"]

# Okabe and Ito (2008), without yellow and black.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")
_ROOM = 0.04


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
