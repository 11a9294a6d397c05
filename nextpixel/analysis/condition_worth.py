"""How many bits a condition saves, and how well the model classifies with it.

A class saves at most log2(classes) bits of a whole image, which hardly shows in bits per dimension,
so the papers could only say that conditional samples look better. These figures show whether, and
how much, a condition counts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.analysis.uncertainty import standard_error
from nextpixel.arguments import instance_of, whole_number
from nextpixel.border import ConditionGiven, Images, admit, model_of, tensor_of
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.conditions.values import Values, unknown
from nextpixel.data.splits import Split
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.scoring import score
from nextpixel.training.batches import conditioned

__all__ = ["ConditionWorth", "class_log_probabilities", "condition_worth"]

_MANY_CLASSES = 4096
_MOST_LIKELIHOODS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class ConditionWorth:
    """How much a model's condition says about the images of a split. Bits are per image.

    Attributes:
        images: how many were scored.
        given: mean -log2 p(x | h), h the image's own condition.
        shuffled: mean -log2 p(x | h'), h' that of another image.
        nothing: mean -log2 p(x | nothing known); None unless it was asked for.
        bits: shuffled - given: what the right condition saves compared with a wrong one.
        standard_error: of `bits`, over images or clusters of them.
        clusters: how many groups of images that belong together, if they were given.
        accuracy: share of the images whose own class is argmax_h p(x | h); None unless the
            condition has a class. Other conditions keep their values.
        class_bits: mean log2 p(x | h) - log2 mean_h p(x | h): the information of the image about
            its class when all are as likely, at most log2(classes); None unless the condition has a
            class.
    """

    images: int
    given: float
    shuffled: float
    nothing: float | None
    bits: float
    standard_error: float
    clusters: int | None
    accuracy: float | None
    class_bits: float | None


def condition_worth(
    model: ImageModel,
    split: Split,
    *,
    images: int | None = None,
    seed: int = 0,
    with_nothing: bool = False,
    clusters: NDArray[np.int64] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConditionWorth:
    """Scores images of a split given their own condition, another image's, and every class.

    Args:
        model: a conditional model.
        split: images with what the model is conditioned on; images of different sizes are scored
            one by one.
        images: how many of them, drawn without replacement among those whose condition is known;
            None for all.
        seed: which images, and how conditions are shuffled: no image keeps its own.
        with_nothing: whether to score with unknown conditions as well, for a model that has seen
            them in training.
        clusters: which images of the split belong together, such as patches of one photograph:
            a number for each image, equal within a cluster. None: each image is its own.
        progress: called with how many images are scored, and of how many.

    Raises:
        ValueError: the model is unconditional, there are fewer than two images, clusters are not
            one number for each image of the split, or the model has more than 4096 classes and they
            are more than two million likelihoods.
    """
    model, split = model_of(model), instance_of("split", split, Split, "such as load_data(…).test")
    images = None if images is None else whole_number("images", images, 0)
    seed = whole_number("seed", seed, 0)
    if clusters is not None and np.shape(clusters) != (len(split),):
        raise UsageError(
            f"‹clusters› has shape {np.shape(clusters)}; give one number for each of the"
            f" {len(split)} images"
        )
    if not model.conditions:
        raise UsageError("this model is unconditional: there is no condition to weigh")
    rows = np.random.default_rng(seed).permutation(len(split))
    rows = rows[_known(model, split)[rows]][:images]
    if (count := len(rows)) < 2:
        raise UsageError(
            f"there are {count} images whose condition is known; at least 2 are needed to exchange"
            " them"
        )
    place = _place_of_class(model)
    _check_work(model, count, place)
    given, shuffled, nothing, right, information = [], [], [], [], []
    batch = 64 if len(np.unique(split.sizes[rows], axis=0)) == 1 else 1
    for start in range(0, count, batch):
        places = np.arange(start, min(start + batch, count))
        x, own = conditioned(model, split, rows[places])
        # Neighbours in a random order: each image gets the condition of another one.
        _, others = conditioned(model, split, rows[(places + 1) % count])
        given.append(score(model, x, own))
        shuffled.append(score(model, x, others))
        if with_nothing:
            size = x.shape[2], x.shape[3]
            nothing.append(score(model, x, unknown(model.conditions, len(x), size)))
        if place is not None:
            log_p = class_log_probabilities(model, x, condition=own)
            labels = own[place].cpu()
            right.append((log_p.argmax(dim=1) == labels).double())
            information.append(log_p.gather(1, labels[:, None])[:, 0] + math.log(log_p.shape[1]))
        if progress is not None:
            progress(start + len(places), count)
    saved = ((torch.cat(given) - torch.cat(shuffled)) / math.log(2)).numpy()
    groups = None if clusters is None else clusters[rows]
    return ConditionWorth(
        images=count,
        given=_bits(given),
        shuffled=_bits(shuffled),
        nothing=_bits(nothing) if with_nothing else None,
        bits=float(saved.mean()),
        standard_error=standard_error(saved, groups),
        clusters=None if groups is None else len(np.unique(groups)),
        accuracy=float(torch.cat(right).mean()) if right else None,
        class_bits=-_bits(information) if information else None,
    )


def _known(model: ImageModel, split: Split) -> NDArray[np.bool_]:
    """Of which images the class and the vector are known."""
    known = np.ones(len(split), bool)
    for part in model.given_by_data:
        if part.annotation == "labels" and split.labels is not None:
            known &= split.labels >= 0
        if part.annotation == "vectors" and split.vectors is not None:
            known &= np.isfinite(split.vectors).all(axis=1)
    return known


def _check_work(model: ImageModel, images: int, place: int | None) -> None:
    """Raises UsageError if a classifier of very many classes would take days."""
    part = None if place is None else model.conditions[place]
    classes = part.classes if isinstance(part, ClassCondition) else 0
    if classes > _MANY_CLASSES and classes * images > _MOST_LIKELIHOODS:
        raise UsageError(
            f"{images:,} images given each of {classes:,} classes are {images * classes:,}"
            f" likelihoods; use at most ‹images={max(2, _MOST_LIKELIHOODS // classes)}›"
        )


def class_log_probabilities(
    model: ImageModel,
    x: Images,
    prior: Tensor | Sequence[float] | None = None,
    *,
    condition: ConditionGiven = None,
) -> Float[Tensor, "*B classes"]:
    """Log p(h | x) = log p(x | h) + log p(h) - log p(x) of every class h, a generative classifier.

    For a model with further conditions s it is log p(h | x, s): these keep their values.

    Args:
        model: a model conditioned on one class, and possibly on vectors and maps.
        x: integers 0 … levels-1.
        prior: probabilities p(h) of the classes; None for equal ones.
        condition: for a model with further conditions, the values of all of them; each class in
            turn replaces the given classes.

    Returns:
        Nats, float64, on the CPU; `argmax(dim=1)` is the class that makes the image likeliest.

    Raises:
        ValueError: the model is not conditioned on one class, or condition or prior does not fit.
    """
    place = _place_of_class(model_of(model))
    if place is None:
        kinds = " and ".join(part.describe() for part in model.conditions) or "nothing"
        raise UsageError(
            f"a classifier needs a model conditioned on one class, but this one is on {kinds}"
        )
    classes = of_kind(model.conditions, ClassCondition)[place].classes
    weights = torch.ones(classes) if prior is None else tensor_of("prior", prior).cpu().double()
    if weights.shape != (classes,) or not (weights.isfinite() & (weights >= 0)).all():
        raise UsageError(
            f"‹prior› has shape {tuple(weights.shape)}; give {classes} probabilities, one for each"
            " class"
        )
    # A value for the class itself is not needed.
    given = (torch.tensor(-1),) if condition is None and len(model.conditions) == 1 else condition
    admitted = admit(model, x, given)
    model, x, values, _ = admitted
    scores = torch.stack(
        [score(model, x, _with_class(values, place, h)) for h in range(classes)], dim=1
    )
    return admitted.result(torch.log_softmax(scores + weights.log().double(), dim=1))


def _place_of_class(model: ImageModel) -> int | None:
    """Which of a model's conditions is its class; None if none is, or several."""
    places = list(of_kind(model.conditions, ClassCondition))
    return places[0] if len(places) == 1 else None


def _with_class(values: Values, place: int, h: int) -> Values:
    """The values of a batch with class h for all images."""
    return *values[:place], torch.full_like(values[place], h), *values[place + 1 :]


def _bits(nats: list[Tensor]) -> float:
    return -float(torch.cat(nats).mean()) / math.log(2)
