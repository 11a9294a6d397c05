"""nextpixel condition-worth: how many bits a model's condition saves."""

import json as json_format

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Json, Model, Whole
from nextpixel.cli.words import images_words
from nextpixel.settings.requests import DataRequest

__all__ = ["condition_worth"]


def condition_worth(
    model: Model,
    *,
    request: Given[DataRequest] = Given(),  # noqa: B008
    images: Whole = 1000,
    cluster: str | None = None,
    seed: Whole = 0,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Measure how many bits the condition saves, and classify with it.

    Images are scored given their own condition and given that of another image: the difference is
    what the condition is worth. The condition of an auto-encoder is its code. A class-conditional
    model also classifies: by the class that makes an image most probable.

    Parameters
    ----------
    images
        The number of images, drawn at random.
    cluster
        The column of the table of labels that says which images belong together, such as patches
        of one photograph, or `label` for their classes. The standard error then counts clusters
        instead of images.
    seed
        The seed of the choice of images, and of whose conditions are exchanged.
    """
    from nextpixel.inference.worth import measure_condition

    with counted_bar("Reading") as reading, counted_bar("Scoring") as progress:
        found = measure_condition(
            model,
            DataRequest(**request.values()),
            images=images,
            cluster=cluster,
            seed=seed,
            device=device,
            reading=reading,
            progress=progress,
        )
    if json:
        print(json_format.dumps(found.to_json()))
        return
    worth = found.worth
    print(f"{found.source}, {found.split}: {images_words(worth.images)}, bits per image")
    print(f"  given {found.given}: {worth.given:.2f}")
    print(f"  given that of another image: {worth.shuffled:.2f}")
    if worth.nothing is not None:
        print(f"  given nothing: {worth.nothing:.2f}")
    over = "images" if worth.clusters is None else f"{worth.clusters:,} clusters"
    print(
        f"the right condition saves {worth.bits:.2f} ± {worth.standard_error:.2f} bits per image"
        f" (standard error over {over})"
    )
    if worth.accuracy is not None and worth.class_bits is not None:
        print(
            f"as a classifier: {worth.accuracy:.1%} right; {worth.class_bits:.2f} bits about the"
            " class"
        )
