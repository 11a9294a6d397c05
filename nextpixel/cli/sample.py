"""nextpixel sample: images drawn from a trained model."""

from pathlib import Path
from typing import Annotated

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import SHORT_OUT, Device, Enlarge, Model
from nextpixel.cli.words import images_words, note_lines
from nextpixel.cli.work import announced_bar
from nextpixel.settings.requests import DataRequest, SampleConfig, SampleRequest, check_at_least

__all__ = ["sample"]


def sample(
    model: Model,
    *,
    out: Annotated[Path, SHORT_OUT] = Path("samples.png"),
    request: Given[SampleRequest] = Given(),  # noqa: B008
    config: Given[SampleConfig] = Given(),  # noqa: B008
    data: Given[DataRequest] = Given(),  # noqa: B008
    enlarge: Enlarge = 1,
    device: Device = "auto",
) -> None:
    """Draw images from a trained model.

    `--vectors` and `--maps` may be `.npy` files of their own, without `--data`: images are drawn
    given these. Conditions that no option gives are those of the images of `--data`, by default of
    the training data. A variational auto-encoder draws codes from its prior unless `--data` is
    given.

    Parameters
    ----------
    out
        An .npy for the values of the training data (n, C, H, W); a .png for a grid of all images,
        or a folder for a file each, which show the levels from black to white.
    """
    requested, drawing = SampleRequest(**request.values()), SampleConfig(**config.values())
    check_at_least(1, enlarge=enlarge)
    from nextpixel.data.image_output import check_output
    from nextpixel.inference.drawing import draw_images

    check_output(out, (".png", ".npy", ""))
    working, progress = announced_bar("Drawing")
    with counted_bar("Reading") as reading:
        drawn = draw_images(
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
    height, width = drawn.size
    print(f"{images_words(len(drawn.images))} of {height}×{width}: {out}")
    if not out.suffix and drawn.shown_otherwise:
        print(*note_lines((drawn.shown_otherwise,)), sep="\n")
