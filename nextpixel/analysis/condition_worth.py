"""What a condition is worth to a model: bits of an image that it explains, and the class that an
image speaks for.

The papers could only say that conditional samples look better: a class is worth at most
log2(classes) bits of a whole image, which does not show in bits per dimension. These figures show
whether, and how much, a condition counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from nextpixel.conditions import ClassCondition, Values, one_each, parts_of, tuple_of, unknown
from nextpixel.data.splits import Split
from nextpixel.models.core import ImageModel
from nextpixel.scoring import score
from nextpixel.training.batches import conditioned

__all__ = ["ConditionWorth", "class_log_probabilities", "condition_worth"]


@dataclass(frozen=True, kw_only=True)
class ConditionWorth:
    """How much a model's condition tells of the images of a split. Bits are per image.

    Attributes:
        images: how many were scored.
        given: mean -log2 p(x | h), h the image's own condition.
        shuffled: mean -log2 p(x | h'), h' that of another image.
        nothing: mean -log2 p(x | nothing known); None unless it was asked for.
        bits: shuffled - given: what the right condition saves beside a wrong one.
        standard_error: of `bits`.
        accuracy: share of the images whose own class is argmax_h p(x | h); None unless the
            condition has a class. All else that is given stays as it is.
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
    accuracy: float | None
    class_bits: float | None


def condition_worth(
    model: ImageModel,
    split: Split,
    *,
    images: int | None = None,
    seed: int = 0,
    with_nothing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ConditionWorth:
    """Scores images of a split given their own condition, another image's, and every class.

    Args:
        model: a conditional model.
        split: images with what the model is conditioned on; of different sizes, they are taken one
            by one.
        images: how many of them, drawn without replacement; None for all.
        seed: which images, and how conditions are shuffled: no image keeps its own.
        with_nothing: whether to score without any condition, too, for a model that met unknown ones
            in training.
        progress: called with how many images are scored, and of how many.

    Raises:
        ValueError: the model is unconditional, or there are fewer than two images.
    """
    if model.condition is None:
        raise ValueError("this model is unconditional: there is no condition to weigh")
    count = len(split) if images is None else min(images, len(split))
    if count < 2:
        raise ValueError(
            f"there are {count} images; at least 2 are needed to exchange their conditions"
        )
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(split))[:count]
    place = _place_of_class(model)
    given, shuffled, nothing, right, information = [], [], [], [], []
    batch = 64 if len(np.unique(split.sizes[rows], axis=0)) == 1 else 1
    for start in range(0, count, batch):
        places = np.arange(start, min(start + batch, count))
        x, own = conditioned(model, split, rows[places])
        # Neighbours in a random order: everyone gets someone else's.
        _, others = conditioned(model, split, rows[(places + 1) % count])
        given.append(score(model, x, own))
        shuffled.append(score(model, x, others))
        if with_nothing:
            size = x.shape[2], x.shape[3]
            nothing.append(score(model, x, unknown(model.condition, len(x), size)))
        if place is not None:
            log_p = class_log_probabilities(model, x, condition=own)
            labels = tuple_of(own)[place].cpu()
            right.append((log_p.argmax(dim=1) == labels).double())
            information.append(log_p.gather(1, labels[:, None])[:, 0] + math.log(log_p.shape[1]))
        if progress is not None:
            progress(start + len(places), count)
    saved = (torch.cat(given) - torch.cat(shuffled)) / math.log(2)
    return ConditionWorth(
        images=count,
        given=_bits(given),
        shuffled=_bits(shuffled),
        nothing=_bits(nothing) if with_nothing else None,
        bits=float(saved.mean()),
        standard_error=float(saved.std()) / math.sqrt(count),
        accuracy=float(torch.cat(right).mean()) if right else None,
        class_bits=-_bits(information) if information else None,
    )


def class_log_probabilities(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    prior: Float[Tensor, " classes"] | None = None,
    *,
    condition: Values | None = None,
) -> Float[Tensor, "B classes"]:
    """Log p(h | x) = log p(x | h) + log p(h) - log p(x) of every class h: the generative
    classifier.

    Of a model that is conditioned on more, s, it is log p(h | x, s): what else is given stays as it
    is.

    Args:
        model: a model whose condition is, or has among others, a class.
        x: integers 0 … levels-1.
        prior: probabilities p(h) of the classes; None for equal ones.
        condition: all that the model is conditioned on, for one that is on more than a class; the
            classes in it are replaced by each in turn.

    Returns:
        Nats, float64, on the CPU; `argmax(dim=1)` is the class that makes the image likeliest.

    Raises:
        ValueError: the model is conditioned on no class, or condition or prior does not fit.
    """
    parts, place = parts_of(model.condition), _place_of_class(model)
    if place is None:
        kinds = ", ".join(type(part).__name__ for part in parts) or "nothing"
        raise ValueError(
            f"a classifier needs a model conditioned on one class, but this one is on {kinds}"
        )
    classes: int = parts[place].classes  # type: ignore[union-attr]
    if prior is not None and prior.shape != (classes,):
        raise ValueError(
            f"prior has shape {tuple(prior.shape)}, but the model has {classes} classes"
        )
    if condition is not None or len(parts) > 1:
        condition = one_each(
            model.condition, condition, len(x), (x.shape[2], x.shape[3]), model.device
        )
    scores = torch.stack(
        [score(model, x, _with_class(condition, place, h, len(x))) for h in range(classes)], dim=1
    )
    weights = torch.zeros(classes) if prior is None else prior.cpu().log()
    return torch.log_softmax(scores + weights.double(), dim=1)


def _place_of_class(model: ImageModel) -> int | None:
    """Which of a model's conditions is its class; None if none is, or several."""
    places = [
        k for k, part in enumerate(parts_of(model.condition)) if isinstance(part, ClassCondition)
    ]
    return places[0] if len(places) == 1 else None


def _with_class(condition: Values | None, place: int, h: int, batch: int) -> Values:
    """The condition of a batch with class h for all images."""
    every = torch.full((batch,), h)
    if isinstance(condition, tuple):
        return *condition[:place], every, *condition[place + 1 :]
    return every


def _bits(nats: list[Tensor]) -> float:
    return -float(torch.cat(nats).mean()) / math.log(2)
