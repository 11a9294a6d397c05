"""nextpixel complete: hidden parts of images, filled in several times."""

from pathlib import Path

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Enlarge, Model, Out
from nextpixel.cli.words import images_words, note_lines
from nextpixel.cli.work import announced_bar
from nextpixel.settings.requests import (
    CompletionRequest,
    DataRequest,
    SampleConfig,
    check_at_least,
)

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
    part is at the bottom, draws are from the exact conditional distribution; otherwise known pixels
    below or to the right of a hidden one are kept, but do not inform it. A multi-scale model draws
    the hidden part of the small image first, uninformed by the other known pixels.
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
    if not out.suffix and drawn.shown_otherwise:
        print(*note_lines((drawn.shown_otherwise,)), sep="\n")
