"""nextpixel embed: an embedding of labelled images, learnt by triplets."""

import json as json_format
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nextpixel.cli.options import Given
from nextpixel.cli.readers import SHORT_OUT, Device, Json, Whole
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import EmbeddingConfig

if TYPE_CHECKING:
    from nextpixel.training.embed import Verified

__all__ = ["embed"]


def embed(
    source: str,
    /,
    *,
    out: Annotated[Path, SHORT_OUT] = Path("embedding.safetensors"),
    outputs: Whole = 64,
    features: Whole = 32,
    dropout: float = 0.0,
    held_out: float = 0.15,
    training: Given[EmbeddingConfig] = Given(),  # noqa: B008
    annotations: Given[Source] = Given(),  # noqa: B008
    preparation: Given[Preparation] = Given(),  # noqa: B008
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Train an embedding of labelled images: images of one class lie close together.

    Some classes are held out of training, to measure the embedding on classes that it never saw.

    Parameters
    ----------
    source
        A labelled source: a folder of folders, an .npz file with labels … A class may be a person,
        a kind, anything.
    out
        The checkpoint, for `nextpixel train --embedding`.
    outputs
        Length of the vectors.
    features
        Feature maps of the first convolution, doubled with each stride.
    dropout
        Share of the features before the last layer that are dropped in training.
    held_out
        How many classes to hold out: a number, or a share below 1, which is at least two classes if
        there are four or more.
    """
    from nextpixel.cli.progress import counted_bar
    from nextpixel.cli.terminal import printable
    from nextpixel.data.image_output import check_output
    from nextpixel.files.locking import one_process
    from nextpixel.training.embed import learn_embedding

    config = EmbeddingConfig(**training.values())
    check_output(out, (".safetensors",))
    with (
        one_process(out),
        counted_bar("Reading") as reading,
        counted_bar("Training") as progress,
    ):
        result = learn_embedding(
            Source(source, **annotations.values()),
            config,
            out=out,
            preparation=Preparation(**{"size": "auto"} | preparation.values()),
            outputs=outputs,
            features=features,
            dropout=dropout,
            held_out=held_out,
            device=device,
            reading=reading,
            progress=progress,
        )
    count = len(result.held_out)
    if json:
        print(json_format.dumps({"source": result.source, "held_out": count} | result.figures()))
        return
    print(f"{printable(result.source)}: trained on {result.classes} classes, {count} held out")
    which = "other images" if result.other_images else "the training images"
    print(f"  known classes, {which}: {_words(result.known)}")
    if result.unseen is not None:
        own = result.unseen.found is not None and result.unseen.own_threshold
        own_words = ", at their own best threshold" if own else ""
        print(f"  classes never seen: {_words(result.unseen)}{own_words}")
    print(f"next      nextpixel train {shlex.quote(source)} --embedding {shlex.quote(str(out))}")


def _words(verified: "Verified") -> str:
    """What a verification found, or why there is none."""
    found = verified.found
    if found is None:
        return f"no figure: {verified.missing}"
    some = f" of {found.images:,} images drawn at random" if found.images < verified.images else ""
    return f"AUROC {found.auroc:.3f}, accuracy {found.accuracy:.1%} of {found.pairs:,} pairs{some}"
