"""The figure of a model on a whole split: bits per sub-pixel, exact, a bound, or an error."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.arguments import instance_of, whole_number
from nextpixel.autoencoding import likelihood_of
from nextpixel.conditions.values import ValuesLike
from nextpixel.data.splits import Split
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.scoring import order_scores
from nextpixel.training.batches import conditioned
from nextpixel.training.distributed import rank_and_processes

__all__ = ["evaluate", "log_probabilities", "validation_of"]


def evaluate(
    model: Trainable,
    split: Split,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    nats_of: Callable[..., Tensor] | None = None,
) -> float:
    """Bits per sub-pixel over a whole split: the sum of nats / (number of sub-pixels · ln 2).

    They are computed in float32, without dropout. Images of different sizes are taken one size at a
    time and weighted by their number of sub-pixels. With several processes, each scores its share,
    and all get the result.

    Args:
        model: any model; what it is conditioned on comes from the split.
        split: not empty.
        batch_size: images per pass. The result does not depend on it, except for rounding.
        progress: called with how many images are scored, and of how many (of this process).
        nats_of: what to sum up; None for what `likelihood_of` gives.

    Raises:
        UsageError: the split is empty, or does not fit the model.
    """
    rank, processes = rank_and_processes()
    batches = _scored(model, split, batch_size, progress, nats_of, rank, processes)
    nats = torch.tensor(
        -math.fsum(math.fsum(values) for _, values in batches),
        dtype=torch.float64,
        device=model.device if processes > 1 else "cpu",
    )
    if processes > 1:
        dist.all_reduce(nats)
    return nats.item() / (model.channels * int(split.sizes.prod(axis=1).sum()) * math.log(2))


def validation_of(model: Trainable) -> Callable[..., Tensor]:
    """What a validation sums up, which decides the weights that are kept: as for `evaluate`.

    Of a model of several orders it is the mean of their likelihoods, as in training. The mixture
    would do with a single good order, such as that of the checkpoint that a run starts from, and
    completions need each.
    """
    if isinstance(model, ImageModel) and len(model.orders) > 1:
        return likelihood_of(model, _mean_of_orders)
    return likelihood_of(model)


def _mean_of_orders(model: ImageModel, x: Tensor, condition: ValuesLike) -> Tensor:
    return order_scores(model, x, condition).mean(dim=1)


def log_probabilities(
    model: Trainable,
    split: Split,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    nats_of: Callable[..., Tensor] | None = None,
) -> NDArray[np.float64]:
    """What `evaluate` sums up: of every image of a split, (N,), in nats.

    Args:
        model, split, batch_size, progress, nats_of: as for `evaluate`.

    Raises:
        UsageError: as `evaluate`.
    """
    found = np.empty(len(split))
    for rows, values in _scored(model, split, batch_size, progress, nats_of, 0, 1):
        found[rows] = values
    return found


def _scored(
    model: Trainable,
    split: Split,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
    nats_of: Callable[..., Tensor] | None,
    rank: int,
    processes: int,
) -> Iterator[tuple[NDArray[np.intp], list[float]]]:
    """Batches of images of one size, of a process's share: their rows, and what each has."""
    instance_of("model", model, Trainable)
    instance_of("split", split, Split, "such as load_data(…).test")
    batch_size = whole_number("batch_size", batch_size, 1)
    nats_of = nats_of or likelihood_of(model)
    if not len(split):
        raise UsageError(
            "this split is empty, so there is nothing to evaluate; choose another ‹split›"
        )
    shapes, group_of = np.unique(split.sizes, axis=0, return_inverse=True)
    groups = [
        np.flatnonzero(group_of.reshape(-1) == k)[rank::processes] for k in range(len(shapes))
    ]
    done, count = 0, sum(map(len, groups))
    for rows in groups:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            x, condition = conditioned(model, split, part)
            yield part, nats_of(model, x, condition).tolist()
            done += len(part)
            if progress is not None:
                progress(done, count)
