"""nextpixel embed: an embedding of labelled pictures, learnt by triplets."""

import json as json_format
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextpixel.commands.options import DataOptions, given

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nextpixel.splits import Split

__all__ = ["embed"]


@dataclass(kw_only=True)
class EmbeddingOptions:
    """How it is trained: the fields of `nextpixel.triplets.EmbeddingConfig`."""

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
        A labelled source: a folder of folders, an .npz with labels …; classes may be people, kinds, anything.
    out
        The checkpoint, for --embedding of nextpixel train.
    outputs
        Length of the vectors.
    features
        Feature maps of the first convolution, doubled with each stride.
    dropout
        Share of the features before the last layer that are dropped in training.
    held_out
        Share (below 1) or number of the classes that are held out.
    json
        Print one JSON object.
    device
        auto, cpu, cuda, cuda:1 …
    """
    import numpy as np
    import torch

    from nextpixel.checkpoint import save
    from nextpixel.commands.opening import counted_bar, pick_device
    from nextpixel.commands.output import check_out
    from nextpixel.data import load_data
    from nextpixel.models.embedding import Embedding
    from nextpixel.models.embedding import embed as vectors_of
    from nextpixel.splits import joined, subset
    from nextpixel.triplets import EmbeddingConfig, train_embedding, verify

    config = EmbeddingConfig(**given(options or EmbeddingOptions()))
    check_out(out, (".safetensors",))
    with counted_bar("Reading") as progress:
        pictures = load_data(source, **({"size": "auto"} | (data or DataOptions()).keywords()), progress=progress)
    if not pictures.classes or pictures.shape is None:
        raise ValueError(f"{pictures.source} has no classes, or no one size; an embedding needs both")
    parts = [split for split in (pictures.train, pictures.valid, pictures.test) if len(split)]
    present = np.unique(np.concatenate([_labels(split) for split in parts]))
    count = len(present)
    unseen = int(held_out if held_out >= 1 else count * held_out)
    if held_out < 0 or unseen > count - 2:
        raise ValueError(f"--held-out {held_out} leaves fewer than two of the {count} classes to learn from")
    numbers = np.sort(np.random.default_rng(config.seed).permutation(present)[:unseen])
    known = [subset(split, np.flatnonzero(~np.isin(_labels(split), numbers))) for split in parts]
    others = joined([subset(split, np.flatnonzero(np.isin(_labels(split), numbers))) for split in parts])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
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
    figures: dict[str, object] = {"loss": loss, "active": active}
    threshold = None
    for name, split in (("known", joined(known[1:]) if known[1:] else known[0]), ("unseen", others)):
        labels = _labels(split)
        if len(split) and len(np.unique(labels)) > 1 and np.bincount(labels).max() > 1:
            embedded = vectors_of(network, torch.from_numpy(split.batch(range(len(split))).astype(np.int64)))
            found = verify(embedded, labels, threshold=threshold)
            threshold = found.threshold
            figures[name] = asdict(found)
    extra = {"data": pictures.preparation, "classes": pictures.classes}
    extra |= {"held_out": [pictures.classes[k] for k in numbers], "verification": figures, "training": asdict(config)}
    save(network, out, extra=extra)
    if json:
        print(json_format.dumps({"source": pictures.source, "held_out": unseen} | figures))
        return
    print(f"{pictures.source}: {count - unseen} classes learnt from, {unseen} held out")
    for name, what in (("known", "known classes, other pictures"), ("unseen", "classes never seen")):
        if isinstance(seen := figures.get(name), dict):
            print(f"  {what}: AUROC {seen['auroc']:.3f}, accuracy {seen['accuracy']:.1%} of {seen['pairs']:,} pairs")
    print(f"next      nextpixel train {source} --embedding {out}")


def _labels(split: "Split") -> "NDArray[np.int64]":
    assert split.labels is not None
    return split.labels
