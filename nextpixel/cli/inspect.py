"""nextpixel inspect: what a trained model expects, pixel by pixel, and how far it looks."""

from pathlib import Path
from typing import Annotated

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import SHORT_OUT, Device, Model
from nextpixel.settings.requests import DataRequest, InspectionRequest

__all__ = ["inspect"]


def inspect(
    model: Model,
    *,
    out: Annotated[Path, SHORT_OUT] = Path("inspect"),
    request: Given[InspectionRequest] = Given(),  # noqa: B008
    data: Given[DataRequest] = Given(),  # noqa: B008
    device: Device = "auto",
) -> None:
    """Draw what a model predicts for some pixels of an image, and its effective receptive field.

    The effective receptive field of a pixel is how strongly its distribution depends on each
    earlier pixel, averaged over several images.

    Parameters
    ----------
    out
        A folder for predictions.png and effective_field.png.
    """
    requested = InspectionRequest(**request.values())
    from nextpixel.inference.inspection import inspect_model

    with counted_bar("Reading") as reading:
        found = inspect_model(
            model, requested, data=DataRequest(**data.values()), device=device, reading=reading
        )
    found.save(out)
    print(
        f"{found.source}, {found.split}, image {found.image}: predictions at"
        f" {len(found.pixels)} pixels: {out / 'predictions.png'}"
    )
    for (row, column), bits in zip(found.pixels, found.entropy_bits, strict=True):
        print(f"  row {row}, column {column}: entropy {bits:.3f} bits")
    if found.field is None:
        print("the values of this model are categories, without derivatives: no effective field")
    else:
        print(f"{found.field}: {out / 'effective_field.png'}")
