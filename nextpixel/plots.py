"""Training curves (needs matplotlib: the extra `plots`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["training_curve"]


def training_curve(
    metrics: Sequence[Mapping[str, Any]], path: str | Path, *, baselines: Mapping[str, float] | None = None
) -> None:
    """Draws bits per dimension against steps: training batches, validations, and baselines as horizontal lines.

    Args:
        metrics: the lines of a run's metrics.jsonl, as `nextpixel.runs.read_metrics` gives them.
        path: the picture to write; its ending decides the format.
        baselines: values to beat, by name.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError("matplotlib is not installed; install it with: pip install 'nextpixel[plots]'") from error
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for key, label, style in (
        ("train_bits_per_dim", "training batches", {"alpha": 0.4, "linewidth": 1.0}),
        ("valid_bits_per_dim", "validation, averaged weights", {"marker": "o", "markersize": 3.0}),
    ):
        points = [(line["step"], line[key]) for line in metrics if key in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    for (name, value), colour in zip((baselines or {}).items(), ("tab:grey", "tab:brown", "black"), strict=False):
        axes.axhline(value, linestyle="--", linewidth=1.0, color=colour, label=f"{name}: {value:.2f}")
    axes.set_xlabel("step")
    axes.set_ylabel("bits per dimension")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
