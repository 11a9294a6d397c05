"""nextpixel reconstruct: new images that share with a given one what a model is conditioned on."""

from pathlib import Path

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Enlarge, Model, Out
from nextpixel.cli.words import images_words, taken_words
from nextpixel.cli.work import announced_bar
from nextpixel.settings.requests import (
    DataRequest,
    ReconstructionRequest,
    SampleConfig,
    check_at_least,
)

__all__ = ["reconstruct"]


def reconstruct(
    model: Model,
    *,
    out: Out = Path("reconstructions.png"),
    request: Given[ReconstructionRequest] = Given(),  # noqa: B008
    config: Given[SampleConfig] = Given(),  # noqa: B008
    data: Given[DataRequest] = Given(),  # noqa: B008
    enlarge: Enlarge = 1,
    device: Device = "auto",
) -> None:
    """Draw new images that share with given ones what the model is conditioned on.

    That is the code of the image for an auto-encoder, and the embedding of the image for a model
    trained with `--embedding`: one photograph of a person gives portraits of that person. For other
    models it is the class, vector or map that comes with the image. A `.png` shows a row for each
    image: the original, the reconstruction by a convolutional auto-encoder if there is one, and the
    draws. An `.npy` holds the draws, (n, draws, C, H, W).
    """
    requested, drawing = ReconstructionRequest(**request.values()), SampleConfig(**config.values())
    check_at_least(1, enlarge=enlarge)
    from nextpixel.data.image_output import check_output
    from nextpixel.inference.reconstruction import reconstruct_images

    check_output(out)
    working, progress = announced_bar("Drawing")
    with counted_bar("Reading") as reading:
        drawn = reconstruct_images(
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
    n, draws = drawn.images.shape[:2]
    print(f"{images_words(n)} of {drawn.source}, {draws} drawn given {drawn.given} of each: {out}")
    if n < drawn.available and "n" not in request.values():
        print(taken_words(n, drawn.available))
