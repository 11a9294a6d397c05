"""Training curves, predicted distributions and effective fields, drawn with the extra `plots`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from nextpixel.files.replacing import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["effective_field", "predictions", "training_curve"]


def training_curve(
    metrics: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    baselines: Mapping[str, float] | None = None,
) -> None:
    """Draws bits per dimension against steps, with baselines as horizontal lines.

    Args:
        metrics: the lines of a run's metrics.jsonl, as `nextpixel.training.runs.read_metrics` gives
            them.
        path: the picture to write; its ending decides the format.
        baselines: values to beat, by name.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _figure(6.4, 4.0)
    axes = figure.subplots()
    for key, label, style in (
        ("train_bits_per_dim", "training batches", {"alpha": 0.4, "linewidth": 1.0}),
        ("valid_bits_per_dim", "validation, averaged weights", {"marker": "o", "markersize": 3.0}),
    ):
        points = [(line["step"], line[key]) for line in metrics if key in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    for (name, value), colour in zip(
        (baselines or {}).items(), ("tab:grey", "tab:brown", "black"), strict=False
    ):
        axes.axhline(
            value, linestyle="--", linewidth=1.0, color=colour, label=f"{name}: {value:.2f}"
        )
    axes.set_xlabel("step")
    axes.set_ylabel("bits per dimension")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    with replace_file(path) as place:
        figure.savefig(place, dpi=120)


def predictions(
    picture: UInt8[np.ndarray, "3 H W"],
    pixels: Sequence[tuple[int, int]],
    probabilities: Float[np.ndarray, "pixels C levels"],
    values: Sequence[Sequence[int]],
    path: str | Path,
) -> None:
    """Draws a model's distribution of each colour of chosen pixels, as the PixelRNN paper does.

    Args:
        picture: the image, to mark the pixels in.
        pixels: (row, column) of each.
        probabilities: of every value of each colour, given all that comes before.
        values: what the pixels are, in each colour.
        path: the picture to write; its ending decides the format.

    Raises:
        ImportError: matplotlib is not installed.
    """
    colours = {1: ("black",), 3: ("tab:red", "tab:green", "tab:blue")}.get(probabilities.shape[1])
    across = 1 + -(-len(pixels) // 2)
    figure = _figure(3.0 * across, 5.0)
    grid = figure.add_gridspec(2, across)
    image = figure.add_subplot(grid[:, 0])
    image.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
    image.set_axis_off()
    for number, ((row, column), distributions, truth) in enumerate(
        zip(pixels, probabilities, values, strict=True)
    ):
        image.text(
            column,
            row,
            str(number + 1),
            color="white",
            backgroundcolor="black",
            fontsize=7,
            ha="center",
        )
        axes = figure.add_subplot(grid[number // (across - 1), 1 + number % (across - 1)])
        for channel, (distribution, value) in enumerate(zip(distributions, truth, strict=True)):
            colour = colours[channel] if colours else f"C{channel}"
            axes.bar(np.arange(len(distribution)), distribution, width=1.0, color=colour, alpha=0.6)
            axes.axvline(value, color=colour, linestyle=":", linewidth=1.0)
        axes.set_title(f"{number + 1}: row {row}, column {column}", fontsize=8)
        axes.tick_params(labelsize=7)
    with replace_file(path) as place:
        figure.savefig(place, dpi=120)


def effective_field(
    strength: Float[np.ndarray, "H W"], pixel: tuple[int, int], path: str | Path
) -> None:
    """Draws how strongly a pixel's distribution depends on each other pixel.

    The scale is logarithmic; unseen pixels are grey.

    Args:
        strength: as `receptive_fields.EffectiveField` has it.
        pixel: (row, column) whose distribution it is.
        path: the picture to write; its ending decides the format.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _figure(5.0, 4.2)
    axes = figure.subplots()
    seen = np.ma.masked_less_equal(strength, 0.0)
    shown = axes.imshow(np.ma.log10(seen), cmap="viridis", vmin=np.log10(strength.max() or 1.0) - 5)
    axes.set_facecolor("lightgrey")
    axes.plot(pixel[1], pixel[0], marker="x", color="red")
    figure.colorbar(shown, label="share of the gradient, log10")
    with replace_file(path) as place:
        figure.savefig(place, dpi=120)


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError(
            "matplotlib is not installed; install it with: pip install 'nextpixel[plots]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
