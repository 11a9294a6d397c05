"""nextpixel interpolate: a row of images from one image's condition to another's."""

from pathlib import Path

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Enlarge, Model, Out
from nextpixel.cli.work import announced_bar
from nextpixel.settings.requests import (
    DataRequest,
    InterpolationRequest,
    SampleConfig,
    check_at_least,
)

__all__ = ["interpolate"]


def interpolate(
    model: Model,
    *,
    out: Out = Path("interpolations.png"),
    request: Given[InterpolationRequest] = Given(),  # noqa: B008
    config: Given[SampleConfig] = Given(),  # noqa: B008
    data: Given[DataRequest] = Given(),  # noqa: B008
    enlarge: Enlarge = 1,
    device: Device = "auto",
) -> None:
    """Go from the condition of one image to that of another in small steps.

    The model must be conditioned on vectors: an auto-encoder, or a model trained with `--vectors`,
    `--captions` or `--embedding`. The vector changes; a class or map stays that of the first image.
    All draws of a row use the same random numbers. A `.png` shows in each row an image, the draws,
    and the other image. An `.npy` holds the draws, (rows, steps, C, H, W).
    """
    requested, drawing = InterpolationRequest(**request.values()), SampleConfig(**config.values())
    check_at_least(1, enlarge=enlarge)
    from nextpixel.data.image_output import check_output
    from nextpixel.inference.reconstruction import interpolate_images

    check_output(out)
    working, progress = announced_bar("Drawing")
    with counted_bar("Reading") as reading:
        drawn = interpolate_images(
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
    rows, steps = drawn.images.shape[:2]
    print(f"{rows} row{'s' * (rows > 1)} of {steps} images between two of {drawn.source}: {out}")
