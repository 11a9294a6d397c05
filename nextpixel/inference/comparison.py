"""Two models on the same images, and which images belong together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel.analysis.uncertainty import standard_error
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.errors import UsageError
from nextpixel.inference.selection import Selection, data_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.requests import DataRequest
from nextpixel.training.evaluation import log_probabilities

__all__ = ["Comparison", "clusters_of", "compare_models", "for_model"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        source, split, images: as in `Evaluation`.
        clusters: how many groups of images that belong together; `images` if each is its own.
        nats_per_image, other_nats_per_image: the mean of -log p under each model.
        difference: the first less the second, nats per image: below 0 if the first model is better.
        standard_error: of the difference, over images or clusters. It covers neither the seed nor
            the recipe of either model.
    """

    source: str
    split: str
    images: int
    clusters: int
    nats_per_image: float
    other_nats_per_image: float
    difference: float
    standard_error: float


def compare_models(
    model: str | Path | Trained,
    other: str | Path | Trained,
    request: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    *,
    cluster: str | None = None,
    device: str | torch.device = "auto",
    reading: Progress | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """The difference of two models' likelihoods on the same images, with its standard error.

    Images differ much more from each other than two models do on one image, so the error of the
    difference is far smaller than that of either figure.

    Args:
        model, other: run folders, checkpoints, or names of pretrained models.
        request: the images; by default the test split of the first model's training data.
        cluster: see `clusters_of`; None counts each image as independent.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images are read, and of how many.
        progress: called with how many images are scored, and of how many, for each model.

    Raises:
        UsageError: the data do not fit, the models are given different things, or the images are
            not the same for both.
    """
    first, second = (open_trained(one, device=device) for one in (model, other))
    if first.given != second.given:
        named = [f"given {one.given}" if one.given else "unconditional" for one in (first, second)]
        raise UsageError(
            f"the models do not compare: one is {named[0]}, the other {named[1]}; give two models"
            " of the same conditions"
        )
    chosen = data_of(first, for_model(first, request, cluster), progress=reading)
    again = for_model(second, request, cluster)
    # Named as other data, a source without splits would be read whole.
    if request.data is None and str(first.card.source) != str(second.card.source):
        again = replace(again, data=str(first.card.source))
    others = data_of(second, again, progress=reading)
    if not _same_images(chosen, others):
        raise UsageError(
            f"the two models do not see the same images of {chosen.source}: they were prepared"
            " differently, or one model was trained on some of them"
        )
    groups = clusters_of(first, chosen, request, cluster)
    nats = [
        -log_probabilities(one.distribution, part.split, progress=progress)
        for one, part in ((first, chosen), (second, others))
    ]
    return Comparison(
        source=chosen.source,
        split=chosen.name,
        images=len(chosen.split),
        clusters=len(chosen.split) if groups is None else len(np.unique(groups)),
        nats_per_image=float(nats[0].mean()),
        other_nats_per_image=float(nats[1].mean()),
        difference=float((nats[0] - nats[1]).mean()),
        standard_error=standard_error(nats[0] - nats[1], groups),
    )


def clusters_of(
    trained: Trained, chosen: Selection, request: DataRequest, cluster: str | None
) -> NDArray[np.int64] | None:
    """Which images of a selection belong together, (N,), or None if each is its own cluster.

    Args:
        trained: the model for which they were chosen.
        chosen: the images.
        request: what chose them.
        cluster: a column of the table of labels, or "label" for the labels themselves.

    Raises:
        UsageError: there are no such labels, or images without one.
    """
    if cluster is None:
        return None
    column = request.label_column if cluster == "label" else cluster
    labelled = data_of(trained, replace(request, label_column=column), needed=(), with_labels=True)
    labels = labelled.split.labels
    if labels is None or not _same_images(chosen, labelled):
        raise UsageError(
            f"{chosen.source} does not say for every image which ‹cluster={cluster}› it belongs to;"
            " give a table with that column as ‹labels›, or 'label' for classes"
        )
    if (labels < 0).any():
        raise UsageError(
            f"{int((labels < 0).sum())} of {len(labels)} images have no ‹cluster={cluster}›; give"
            " one for every image"
        )
    return labels


def for_model(trained: Trained, request: DataRequest, cluster: str | None) -> DataRequest:
    """The request without labels that only say what belongs together."""
    if cluster is None or of_kind(trained.model.given_by_data, ClassCondition):
        return request
    return replace(request, labels=None, label_column=None, file_column=None, label_pattern=None)


def _same_images(one: Selection, other: Selection) -> bool:
    a, b = one.split, other.split
    return len(a) == len(b) and all(np.array_equal(a.images[i], b.images[i]) for i in range(len(a)))
