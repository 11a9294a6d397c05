"""Train an embedding on triplets: images of one class are close, all others further by a margin.

This is the loss of FaceNet (Schroff et al., 2015), which Conditional Image Generation with PixelCNN
Decoders uses for its portraits (section 3.3): Σ [‖f(a) - f(p)‖² - ‖f(a) - f(n)‖² + margin]₊ over
anchors a, positives p of the same class and semi-hard negatives n. A batch has the same number of
images of each of several classes. A class may be a person, a kind of leaf, anything.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.data.splits import Split
from nextpixel.devices import seeded
from nextpixel.errors import UsageError
from nextpixel.models.embedding import Embedding
from nextpixel.settings.training import EmbeddingConfig
from nextpixel.training.modes import training_mode

__all__ = [
    "EmbeddingStep",
    "Verification",
    "balanced_rows",
    "train_embedding",
    "triplet_loss",
    "verify",
]


@dataclass(frozen=True, kw_only=True)
class EmbeddingStep:
    """One update: its number from 1, its mean loss, and the share of triplets within the margin."""

    step: int
    loss: float
    active: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How well distances tell whether two images show the same class.

    Attributes:
        images: how many were compared, each with each other.
        pairs: number of pairs.
        same: how many of the pairs show the same class.
        auroc: probability that a pair of the same class is nearer than one of different classes; ½
            is chance.
        accuracy: share of right answers at the threshold, the mean of that for pairs of the same
            class and that for pairs of different ones.
        threshold: squared distance below which two images are said to show the same class.
    """

    images: int
    pairs: int
    same: int
    auroc: float
    accuracy: float
    threshold: float


def train_embedding(
    model: Embedding, split: Split, config: EmbeddingConfig
) -> Iterator[EmbeddingStep]:
    """Trains on a labelled split; the model is up to date whenever a step is yielded.

    Classes with fewer than two images take no part.

    Raises:
        UsageError: the split has no labels, or too few classes with two images.
    """
    if split.labels is None:
        raise UsageError("the images have no classes; an embedding is trained on labelled images")
    if np.sum(np.bincount(split.labels) >= 2) < 2:
        raise UsageError("fewer than two classes have two images; an embedding needs more")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    device = next(model.parameters()).device
    for step in range(config.steps):
        generator = np.random.default_rng((config.seed, step))
        rows = balanced_rows(split.labels, config.classes, config.each, generator)
        x = torch.from_numpy(_varied(split.batch(rows).astype(np.int64), config, generator)).to(
            device
        )
        labels = torch.from_numpy(split.labels[rows]).to(device)
        optimizer.zero_grad()
        with training_mode(model), seeded(int(generator.integers(2**62))):
            loss, active = triplet_loss(model(x), labels, margin=config.margin)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        yield EmbeddingStep(step=step + 1, loss=float(loss.detach()), active=active)


def balanced_rows(
    labels: NDArray[np.int64], classes: int, each: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of a batch: `each` images of each of `classes` classes, or of all if there are fewer.

    A class with fewer images repeats some of them.
    """
    counts = np.bincount(labels)
    eligible = np.flatnonzero(counts >= 2)
    chosen = generator.choice(eligible, size=min(classes, len(eligible)), replace=False)
    rows = []
    for label in chosen:
        own = generator.permutation(np.flatnonzero(labels == label))
        rows.append(np.resize(own, each))
    return np.concatenate(rows).astype(np.int64)


def triplet_loss(
    embeddings: Float[Tensor, "B size"], labels: Int[Tensor, " B"], *, margin: float = 0.2
) -> tuple[Tensor, float]:
    """The mean of [d(a, p) - d(a, n) + margin]₊ over all pairs a, p of a class.

    Each pair has a semi-hard negative n, and d is the squared distance. Semi-hard is the nearest
    negative that is further from a than p is; if there is none, it is the furthest one. Training on
    the hardest of all from the start makes the embedding collapse (Schroff et al., section 3.2).

    Returns:
        The loss, and the share of pairs whose triplet is within the margin.

    Raises:
        UsageError: there is no pair, or no negative.
    """
    distances = torch.cdist(embeddings, embeddings).square()
    same = labels[:, None] == labels[None]
    anchors, positives = (
        same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device)
    ).nonzero(as_tuple=True)
    if not len(anchors) or bool(same.all()):
        raise UsageError("a batch for triplets needs two images of a class, and images of another")
    to_positive, to_all = distances[anchors, positives], distances[anchors]
    negative = ~same[anchors]
    beyond = negative & (to_all > to_positive[:, None])
    nearest_beyond = to_all.masked_fill(~beyond, math.inf).amin(dim=1)
    furthest = to_all.masked_fill(~negative, -math.inf).amax(dim=1)
    to_negative = torch.where(beyond.any(dim=1), nearest_beyond, furthest)
    excess = (to_positive - to_negative + margin).relu()
    return excess.mean(), float((excess > 0).float().mean())


def verify(
    embeddings: Float[Tensor, "N size"],
    labels: NDArray[np.int64],
    *,
    threshold: float | None = None,
    most: int = 5000,
    seed: int = 0,
) -> Verification:
    """Compares every image with every other one, or `most` random images if there are more.

    Memory and time grow with the square of the number compared: for 5000 images 0.7 GB and a few
    seconds.

    Args:
        embeddings: of images, (N, size).
        labels: their classes.
        threshold: as found on other images; None takes the best one for these images, which makes
            the accuracy too high.
        most: how many images are compared at most; every pair is as likely to be among them.
        seed: which ones, if there are more.

    Raises:
        UsageError: there is no pair of the same class, or none of different classes.
    """
    if len(labels) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(len(labels), most, replace=False))
        embeddings, labels = embeddings[torch.from_numpy(drawn)], labels[drawn]
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise UsageError(
            "verification needs pairs of the same class and of different ones, but there are"
            f" {len(labels)} images of {len(counts)} classes"
        )
    # One image at a time with all later ones: the vectors of all pairs at once would fill the
    # memory.
    apart = [(embeddings[k] - embeddings[k + 1 :]).square().sum(dim=1) for k in range(len(labels))]
    distances = torch.cat(apart).cpu().numpy()
    same = np.concatenate([labels[k] == labels[k + 1 :] for k in range(len(labels))])
    order = np.argsort(distances, kind="stable")
    values, hits = distances[order], same[order]
    ranks = _mean_ranks(values)
    positives, negatives = int(hits.sum()), int((~hits).sum())
    auroc = 1 - (ranks[hits].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    if threshold is None:
        # Between two neighbouring distances that differ.
        balance = np.cumsum(hits) / positives - np.cumsum(~hits) / negatives
        balance[:-1][values[:-1] == values[1:]] = -np.inf
        best = int(np.argmax(balance))
        threshold = (float(values[best]) + float(values[min(best + 1, len(values) - 1)])) / 2
    said_same = values <= np.float64(threshold)  # which a float32 would round
    accuracy = ((said_same & hits).sum() / positives + (~said_same & ~hits).sum() / negatives) / 2
    return Verification(
        images=len(labels),
        pairs=len(same),
        same=positives,
        auroc=float(auroc),
        accuracy=float(accuracy),
        threshold=threshold,
    )


def _mean_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1 of sorted values; equal ones share their mean."""
    start = np.flatnonzero(np.diff(values, prepend=-np.inf))
    counts = np.diff(start, append=len(values))
    return np.repeat(start + (counts + 1) / 2, counts)


def _varied(
    x: NDArray[np.int64], config: EmbeddingConfig, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Images mirrored and shifted at random."""
    if config.flip:
        mirrored = generator.random(len(x)) < 0.5
        x = np.where(mirrored[:, None, None, None], x[..., ::-1], x)
    if config.shift:
        by = config.shift
        padded = np.pad(x, ((0, 0), (0, 0), (by, by), (by, by)), mode="edge")
        corners = generator.integers(2 * by + 1, size=(len(x), 2))
        height, width = x.shape[2:]
        x = np.stack(
            [
                image[:, top : top + height, left : left + width]
                for image, (top, left) in zip(padded, corners, strict=True)
            ]
        )
    return np.ascontiguousarray(x)
