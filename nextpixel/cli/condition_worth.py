"""nextpixel condition-worth: how many bits a model's condition saves."""

import json as json_format
from dataclasses import asdict
from typing import Annotated, Literal

from cyclopts import Parameter

from nextpixel.cli.options import BesideOptions
from nextpixel.cli.terminal import printable

__all__ = ["condition_worth"]


def condition_worth(
    model: str,
    *,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    images: int = 1000,
    seed: int = 0,
    beside: Annotated[BesideOptions | None, Parameter(name="*")] = None,
    json: bool = False,
    device: str = "auto",
) -> None:
    """How many bits of a picture its condition explains, and how often the right class makes it
    likeliest.

    Pictures are scored given their own condition, and given that of another picture: the difference
    is what the condition is worth. For a model of classes also as a classifier.

    Parameters
    ----------
    model
        A run folder or a checkpoint of a conditional model, or of an auto-encoder, whose codes are
        its conditions.
    data
        Another source of pictures with the same kinds of conditions; by default the training data.
    split
        Which part of the data.
    images
        How many pictures, drawn at random.
    seed
        Which pictures, and whose conditions are exchanged.
    json
        Print one JSON object.
    device
        auto, cpu, cuda, cuda:1 …
    """
    from nextpixel.analysis import condition_worth as worth_of
    from nextpixel.cli.opening import condition_words, open_model, open_split
    from nextpixel.cli.progress import counted_bar

    network, card = open_model(model, device)
    pictures, part, what = open_split(card, data, split, labelled=True, beside=beside)
    with counted_bar("Scoring") as progress:
        worth = worth_of.condition_worth(
            network,
            part,
            images=images,
            seed=seed,
            with_nothing=card.condition_dropout > 0,
            progress=progress,
        )
    if json:
        print(json_format.dumps({"source": str(pictures.source), "split": what} | asdict(worth)))
        return
    print(f"{printable(str(pictures.source))}, {what}: {worth.images:,} images, bits per image")
    print(f"  given {condition_words(network) or 'its mean code'}: {worth.given:.2f}")
    print(f"  given another picture's: {worth.shuffled:.2f}")
    if worth.nothing is not None:
        print(f"  given nothing: {worth.nothing:.2f}")
    print(f"the right condition saves {worth.bits:.2f} ± {worth.standard_error:.2f} bits per image")
    if worth.accuracy is not None and worth.class_bits is not None:
        print(
            f"as a classifier: {worth.accuracy:.1%} right; {worth.class_bits:.2f} bits about the"
            " class"
        )
