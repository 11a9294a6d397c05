"""nextpixel complete: hidden parts of images, filled in several times."""

from pathlib import Path
from typing import TYPE_CHECKING

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Enlarge, Model, Out
from nextpixel.cli.words import images_words, note_lines, taken_words
from nextpixel.cli.work import announced_bar
from nextpixel.settings.requests import (
    CompletionRequest,
    DataRequest,
    SampleConfig,
    check_at_least,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["complete"]


def complete(
    model: Model,
    *,
    out: Out = Path("completions.png"),
    request: Given[CompletionRequest] = Given(),  # noqa: B008
    config: Given[SampleConfig] = Given(),  # noqa: B008
    data: Given[DataRequest] = Given(),  # noqa: B008
    enlarge: Enlarge = 1,
    device: Device = "auto",
) -> None:
    """Fill in hidden parts of images, several times each.

    A `.png` shows a row for each image: the original, what the model was given, and the draws. An
    `.npy` holds the draws, (n, draws, C, H, W), and a folder gets a file for each. If the hidden
    part is at the bottom, draws are from the exact conditional distribution. Otherwise known pixels
    that come after a hidden one choose among particles, which suits scratches and small gaps, but
    not a large part above known pixels; the effective number of walkers shows how well. A model of
    several orders uses the one in which most of the known part comes first.
    """
    requested, drawing = CompletionRequest(**request.values()), SampleConfig(**config.values())
    check_at_least(1, enlarge=enlarge)
    from nextpixel.data.image_output import check_output
    from nextpixel.inference.completion import complete_images

    check_output(out, (".png", ".npy", ""))
    working, progress = announced_bar("Completing")
    with counted_bar("Reading") as reading:
        drawn = complete_images(
            model,
            requested,
            drawing,
            data=DataRequest(**data.values()),
            device=device,
            reading=reading,
            progress=progress,
            working=working,
        )
    drawn.save(out, enlarge=enlarge)
    n, draws, (height, width) = len(drawn.images), requested.draws, drawn.size
    completions = f"{draws} completion{'s' * (draws > 1)}"
    print(f"{completions} of {'each of ' * (n > 1)}{images_words(n)} of {height}×{width}: {out}")
    if n < drawn.available and "n" not in request.values():
        print(taken_words(n, drawn.available))
    if drawn.orders:
        print(f"order     {', '.join(dict.fromkeys(drawn.orders))}")
    if drawn.effective is not None:
        print(_walkers_line(drawn.effective, requested.particles, drawn.log_evidence))
    if not out.suffix and drawn.shown_otherwise:
        print(*note_lines((drawn.shown_otherwise,)), sep="\n")


def _walkers_line(
    effective: "NDArray[np.float64]", count: int, log_evidence: "NDArray[np.float64] | None"
) -> str:
    """How many walkers were left in completions (n, draws), and how probable the known part is."""
    import numpy as np

    usual, fewest = np.median(effective), effective.min()
    line = (
        f"particles {usual:.1f} of {count} walkers effective in the median, {fewest:.1f} at least"
    )
    if log_evidence is None:
        return line
    # The mean of exp over draws is what is unbiased.
    nats = np.logaddexp.reduce(log_evidence, axis=1) - np.log(log_evidence.shape[1])
    return f"{line}; log p(known pixels) {nats.mean():,.1f} nats per image"
