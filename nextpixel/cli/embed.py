"""nextpixel embed: an embedding of labelled pictures, learnt by triplets."""

import json as json_format
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nextpixel.cli.options import DataOptions, given

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nextpixel.data.splits import Split

__all__ = ["embed"]


@dataclass(kw_only=True)
class EmbeddingOptions:
    """How it is trained: the fields of `nextpixel.training.embedding.EmbeddingConfig`."""

    steps: int | None = None
    """Updates; by default 2000."""
    classes: int | None = None
    """Classes in a batch; by default 16."""
    each: int | None = None
    """Pictures of each of them; by default 4."""
    margin: float | None = None
    """By how much further other classes should be, in squared distance; by default 0.2."""
    learning_rate: float | None = None
    """Its highest value; by default 0.001."""
    weight_decay: float | None = None
    """By default 0.0001."""
    flip: bool | None = None
    """Mirror pictures left to right at random."""
    shift: int | None = None
    """Move pictures at random by up to so many pixels; by default 0."""
    seed: int | None = None
    """By default 0."""


def embed(
    source: str,
    /,
    *,
    out: Path = Path("embedding.safetensors"),
    outputs: int = 64,
    features: int = 32,
    dropout: float = 0.0,
    held_out: float = 0.15,
    options: Annotated[EmbeddingOptions | None, Parameter(name="*")] = None,
    data: Annotated[DataOptions | None, Parameter(name="*")] = None,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Learn an embedding of labelled pictures: pictures of one class lie near each other.

    Some classes are held out of training, and tell how well it does on those that it never saw.

    Parameters
    ----------
    source
        A labelled source: a folder of folders, an .npz with labels …; classes may be people, kinds,
        anything.
    out
        The checkpoint, for --embedding of nextpixel train.
    outputs
        Length of the vectors.
    features
        Feature maps of the first convolution, doubled with each stride.
    dropout
        Share of the features before the last layer that are dropped in training.
    held_out
        Share (below 1) of the classes that are held out, at least 2 if there are 4; or their
        number.
    json
        Print one JSON object.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import numpy as np
    import torch

    from nextpixel.card import ModelCard
    from nextpixel.checkpoint import save
    from nextpixel.cli.opening import counted_bar, pick_device
    from nextpixel.cli.output import check_out
    from nextpixel.data.load import load_data
    from nextpixel.data.splits import joined, subset
    from nextpixel.devices import seeded
    from nextpixel.models.embedding import Embedding
    from nextpixel.models.embedding import embed as vectors_of
    from nextpixel.training.embedding import EmbeddingConfig, train_embedding, verify

    config = EmbeddingConfig(**given(options or EmbeddingOptions()))
    check_out(out, (".safetensors",))
    with counted_bar("Reading") as progress:
        data = data or DataOptions()
        pictures = load_data(data.source(source), data.preparation(size="auto"), progress=progress)
    if not pictures.classes or pictures.shape is None:
        raise ValueError(
            f"{pictures.source} has no classes, or no one size; an embedding needs both"
        )
    parts = [split for split in (pictures.train, pictures.valid, pictures.test) if len(split)]
    present = np.unique(np.concatenate([_labels(split) for split in parts]))
    count = len(present)
    unseen = _number_held_out(held_out, count)
    if unseen > count - 2:
        raise ValueError(
            f"--held-out {held_out} leaves fewer than two of the {count} classes to learn from"
        )
    numbers = np.sort(np.random.default_rng(config.seed).permutation(present)[:unseen])
    known = [subset(split, np.flatnonzero(~np.isin(_labels(split), numbers))) for split in parts]
    others = joined(
        [subset(split, np.flatnonzero(np.isin(_labels(split), numbers))) for split in parts]
    )
    with seeded(config.seed):
        network = Embedding(
            channels=pictures.channels,
            levels=pictures.levels,
            size=pictures.shape,
            outputs=outputs,
            features=features,
            dropout=dropout,
        ).to(pick_device(device))
    loss = active = float("nan")
    with counted_bar("Learning") as progress:
        for step in train_embedding(network, known[0], config):
            loss, active = (
                value if step.step == 1 else 0.98 * smooth + 0.02 * value
                for smooth, value in ((loss, step.loss), (active, step.active))
            )
            progress(step.step, config.steps)
    figures: dict[str, Any] = {"loss": loss, "active": active}
    compared = {"known": joined(known[1:]) if known[1:] else known[0]} | (
        {"unseen": others} if held_out else {}
    )
    threshold = None
    for name, split in compared.items():
        vectors = vectors_of(
            network, torch.from_numpy(split.batch(range(len(split))).astype(np.int64))
        )
        try:
            found = verify(vectors, _labels(split), threshold=threshold)
        except ValueError as error:
            figures[name] = {"missing": str(error)}
        else:
            figures[name] = asdict(found) | {
                "of_images": len(split),
                "own_threshold": threshold is None,
            }
            threshold = found.threshold
    card = ModelCard(
        source=pictures.source,
        preparation=pictures.preparation,
        classes=pictures.classes,
        shape=pictures.shape,
        training=config,
        held_out=tuple(pictures.classes[k] for k in numbers),
        verification=figures,
    )
    save(network, out, card=card)
    if json:
        print(json_format.dumps({"source": str(pictures.source), "held_out": unseen} | figures))
        return
    print(f"{pictures.source}: {count - unseen} classes learnt from, {unseen} held out")
    which = "other pictures" if known[1:] else "the pictures learnt from"
    print(f"  known classes, {which}: {_words(figures['known'])}")
    if "unseen" in figures:
        own = ", at their own best threshold" if figures["unseen"].get("own_threshold") else ""
        print(f"  classes never seen: {_words(figures['unseen'])}{own}")
    print(f"next      nextpixel train {shlex.quote(source)} --embedding {shlex.quote(str(out))}")


def _number_held_out(held_out: float, count: int) -> int:
    """How many of the classes --held-out asks for; of a share at least two if two remain, for one
    tells nothing.
    """
    if not held_out >= 0 or (held_out >= 1 and held_out % 1):
        raise ValueError(
            f"--held-out {held_out:g} must be a share, 0 to below 1, or a whole number of classes"
        )
    if held_out >= 1 or not held_out:
        return int(held_out)
    return max(int(count * held_out), 2 if count >= 4 else 0)


def _words(figures: dict[str, Any]) -> str:
    """What a verification found, or why there is none."""
    if "missing" in figures:
        return f"no figure: {figures['missing']}"
    some = (
        f" of {figures['images']:,} pictures drawn at random"
        if figures["images"] < figures["of_images"]
        else ""
    )
    return (
        f"AUROC {figures['auroc']:.3f}, accuracy {figures['accuracy']:.1%} of {figures['pairs']:,}"
        f" pairs{some}"
    )


def _labels(split: "Split") -> "NDArray[np.int64]":
    assert split.labels is not None
    return split.labels
