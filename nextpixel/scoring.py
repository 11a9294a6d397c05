"""How probable images are: nats, bits per dimension, maps.

Exact: the sum of log p(x_i | x_<i) over all sub-pixels, in float32 or better, with dropout off. Images are scored a few
rows at a time if they are large; the result is the same and memory does not grow with their height.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from nextpixel.cache import Cache
from nextpixel.layers.conditioning import one_each
from nextpixel.models.core import AutoregressiveModel, check_values, evaluating, rows_per_pass

__all__ = ["bits_per_dim", "log_prob_map", "score"]


def bits_per_dim(model: AutoregressiveModel, x: Shaped[Tensor, "B C H W"], condition: Tensor | None = None) -> float:
    """Mean negative log2-likelihood per sub-pixel, over all images: nats / (B·C·H·W·ln 2).

    Args:
        model: any model; dropout is switched off meanwhile.
        x: integers 0 … levels-1.
        condition: a batch of B conditions, or one for all images. The result is then that of NLL(x | condition),
            which does not compare with that of an unconditional model.

    Raises:
        ValueError: x is empty, or x or condition does not fit the model.
        TypeError: x does not hold integers.
    """
    if not x.numel():
        raise ValueError(f"x has shape {tuple(x.shape)}: there is nothing to score")
    return -float(score(model, x, condition).sum()) / (x.numel() * math.log(2))


def score(
    model: AutoregressiveModel, x: Shaped[Tensor, "B C H W"], condition: Tensor | None = None
) -> Float[Tensor, " B"]:
    """The log-likelihood of each image in nats, float64, on the CPU. Arguments as for `bits_per_dim`."""
    nats = torch.zeros(len(x), dtype=torch.float64)
    for images, _, log_prob in _passes(model, x, condition):
        nats[images] += log_prob.cpu().double().sum(dim=(1, 2, 3))  # not every accelerator has float64
    return nats


def log_prob_map(
    model: AutoregressiveModel, x: Shaped[Tensor, "B C H W"], condition: Tensor | None = None
) -> Float[Tensor, "B C H W"]:
    """Log-probabilities of sub-pixels given their past, in nats, float64, CPU. Arguments as for `bits_per_dim`."""
    nats = torch.zeros(x.shape, dtype=torch.float64)
    for images, rows, log_prob in _passes(model, x, condition):
        nats[images, :, rows] = log_prob.cpu().double()
    return nats


def _passes(model: AutoregressiveModel, x: Tensor, condition: Tensor | None) -> Iterator[tuple[slice, slice, Tensor]]:
    """Scores some images, some rows at a time; yields which images, which rows, and their log-probabilities."""
    check_values(model, x)
    condition = one_each(model.condition, condition, len(x), (x.shape[2], x.shape[3]), model.device)
    batch, _, height, width = x.shape
    rows_of_one = rows_per_pass(model, 1, width)
    images_at_once, rows_at_once = max(1, rows_of_one // height), min(height, rows_of_one)
    with evaluating(model):
        for first in range(0, batch, images_at_once):
            images = slice(first, min(first + images_at_once, batch))
            part = x[images].to(model.device)
            given = None if condition is None else condition[images]
            cache = Cache(len(part), model.colours, height, width) if rows_at_once < height else None
            for start in range(0, height, rows_at_once):
                rows = slice(start, min(start + rows_at_once, height))
                if cache is not None:
                    cache.move_to_rows(rows.start, rows.stop)
                with torch.no_grad(), _full_precision(model.device):
                    log_prob = model(part, given, cache).log_prob(part[:, :, rows])
                yield images, rows, log_prob


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Neither half precision, should the caller have asked for it, nor the short products of TF32."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
