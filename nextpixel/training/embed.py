"""From labelled images to a verified embedding in one call, as `nextpixel embed` does it.

Some classes are held out of training. They measure how well the embedding tells apart classes that
it never saw.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel.arguments import record_of
from nextpixel.checkpoint import save
from nextpixel.data.load import load_data
from nextpixel.data.splits import Split, joined, subset
from nextpixel.devices import pick_device, seeded
from nextpixel.errors import UsageError
from nextpixel.files.card import ModelCard
from nextpixel.models.embedding import Embedding
from nextpixel.models.embedding import embed as vectors_of
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.training import EmbeddingConfig
from nextpixel.training.embedding import Verification, train_embedding, verify

__all__ = ["EmbeddingResult", "Verified", "held_out_classes", "learn_embedding"]

_SMOOTHING = 0.98


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How well an embedding tells the classes of some images apart.

    Attributes:
        images: number of images, some of which were compared.
        found: the figures; None if there are none.
        missing: why there are none.
        own_threshold: whether the threshold was chosen on these images: the accuracy is then too
            high.
    """

    images: int
    found: Verification | None = None
    missing: str | None = None
    own_threshold: bool = True

    def to_json(self) -> dict[str, Any]:
        """The figures, or why there are none."""
        if self.found is None:
            return {"missing": self.missing}
        own = {"of_images": self.images, "own_threshold": self.own_threshold}
        return asdict(self.found) | own


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingResult:
    """An embedding, and how well it tells classes apart.

    Attributes:
        model: the embedding.
        source: of the images.
        classes: number of classes that it was trained on.
        held_out: names of the classes that it never saw.
        loss: mean loss of the last updates.
        active: share of their triplets within the margin.
        known: verification on the known classes.
        other_images: whether that is on other images than those it was trained on.
        unseen: verification on the classes that were held out, with the threshold of the known ones
            if there is one; None if none were held out.
    """

    model: Embedding
    source: str
    classes: int
    held_out: tuple[str, ...]
    loss: float
    active: float
    known: Verified
    other_images: bool
    unseen: Verified | None

    def figures(self) -> dict[str, Any]:
        """The figures, as JSON."""
        unseen = {} if self.unseen is None else {"unseen": self.unseen.to_json()}
        known = {"known": self.known.to_json()}
        return {"loss": self.loss, "active": self.active} | known | unseen


def learn_embedding(
    source: Any,
    training: EmbeddingConfig | Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    preparation: Preparation = Preparation(size="auto"),  # noqa: B008
    outputs: int = 64,
    features: int = 32,
    dropout: float = 0.0,
    held_out: float = 0.15,
    device: str | torch.device = "auto",
    reading: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddingResult:
    """Trains an embedding of labelled images, verifies it, and saves it.

    Args:
        source: the images and their labels: anything that `nextpixel.data.load.load_data` takes.
        training: how; None for the defaults.
        out: the checkpoint to write, or None.
        preparation: how the images are prepared.
        outputs: length of the vectors.
        features: feature maps of the first convolution, doubled with each stride.
        dropout: share of the features before the last layer that are dropped in training.
        held_out: share (below 1) or number of the classes to hold out, see `held_out_classes`.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images have been decoded, and of how many.
        progress: called with how many updates are done, and of how many.

    Raises:
        UsageError: the images have no classes or differ in size, too few classes remain, or a value
            is out of range.
    """
    training = record_of("training", training, EmbeddingConfig)
    data = load_data(source, preparation, progress=reading)
    if not data.classes or data.shape is None:
        raise UsageError(
            f"{data.source} has no classes, or images of several sizes; an embedding needs labelled"
            " images of one size"
        )
    unknown = np.array([-1])
    parts = [
        _of_classes(split, unknown, inside=False)
        for split in (data.train, data.valid, data.test)
        if len(split)
    ]
    parts = [split for split in parts if len(split)]
    numbers = held_out_classes(
        np.unique(np.concatenate([_labels(split) for split in parts])),
        held_out,
        seed=training.seed,
    )
    known = [_of_classes(split, numbers, inside=False) for split in parts]
    unseen = joined([_of_classes(split, numbers, inside=True) for split in parts])
    with seeded(training.seed):
        model = Embedding(
            channels=data.channels,
            levels=data.levels,
            size=data.shape,
            outputs=outputs,
            features=features,
            dropout=dropout,
        ).to(pick_device(device))
    loss = active = float("nan")
    for step in train_embedding(model, known[0], training):
        loss, active = (
            value if step.step == 1 else _SMOOTHING * smooth + (1 - _SMOOTHING) * value
            for smooth, value in ((loss, step.loss), (active, step.active))
        )
        if progress is not None:
            progress(step.step, training.steps)
    of_known = _verified(model, joined(known[1:]) if known[1:] else known[0], None)
    threshold = None if of_known.found is None else of_known.found.threshold
    result = EmbeddingResult(
        model=model,
        source=str(data.source),
        classes=int((np.unique(_labels(known[0]), return_counts=True)[1] > 1).sum()),
        held_out=tuple(data.classes[k] for k in numbers),
        loss=loss,
        active=active,
        known=of_known,
        other_images=len(known) > 1,
        unseen=_verified(model, unseen, threshold) if held_out else None,
    )
    if out is not None:
        card = ModelCard(
            source=data.source,
            preparation=data.preparation,
            classes=data.classes,
            shape=data.shape,
            training=training,
            held_out=result.held_out,
            verification=result.figures(),
        )
        save(model, out, card=card)
    return result


def held_out_classes(
    present: NDArray[np.int64], held_out: float, *, seed: int
) -> NDArray[np.int64]:
    """The classes to hold out of training, in order.

    Args:
        present: the classes that there are.
        held_out: their number, or a share below 1, which is at least two classes if there are four
            or more: a single class has no pairs to tell apart.
        seed: which ones.

    Raises:
        UsageError: that is not a number of classes, or fewer than two classes would remain.
    """
    if not held_out >= 0 or (held_out >= 1 and held_out % 1):
        raise UsageError(
            f"‹held_out={held_out:g}› must be a share, 0 to below 1, or a whole number of classes"
        )
    count = len(present)
    number = held_out
    if 0 < held_out < 1:
        number = max(int(count * held_out), 2 if count >= 4 else 0)
    if number > count - 2:
        raise UsageError(
            f"‹held_out={held_out:g}› leaves fewer than two of the {count} classes to learn from"
        )
    return np.sort(np.random.default_rng(seed).permutation(present)[: int(number)])


def _verified(model: Embedding, split: Split, threshold: float | None) -> Verified:
    x = torch.from_numpy(split.batch(range(len(split))).astype(np.int64))
    own = threshold is None
    try:
        found = verify(vectors_of(model, x), _labels(split), threshold=threshold)
    except UsageError as error:
        return Verified(images=len(split), missing=str(error))
    return Verified(images=len(split), found=found, own_threshold=own)


def _of_classes(split: Split, numbers: NDArray[np.int64], *, inside: bool) -> Split:
    return subset(split, np.flatnonzero(np.isin(_labels(split), numbers, invert=not inside)))


def _labels(split: Split) -> NDArray[np.int64]:
    assert split.labels is not None  # checked
    return split.labels
