"""How probable images are: nats, bits per dimension, maps.

The likelihood is exact: the sum of log p(x_i | x_<i) over all sub-pixels, in float32 or better,
with dropout off. As many images are scored at once as fit into half a gigabyte, and large images a
few rows at a time; the result is the same, and memory grows neither with the number of images nor
with their height.
"""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from nextpixel.cache import Cache
from nextpixel.conditions.values import Values, ValuesLike, broadcast, index
from nextpixel.devices import draw_noise, full_precision
from nextpixel.layers.heads import Distribution
from nextpixel.models.core import (
    AutoregressiveModel,
    ImageModel,
    check_values,
    evaluating,
    rows_per_pass,
)

__all__ = [
    "bits_per_dim",
    "dequantised",
    "dequantised_bits_per_dim",
    "dequantised_score",
    "entropy_map",
    "log_prob_map",
    "passes",
    "scale_scores",
    "score",
]


def bits_per_dim(
    model: ImageModel, x: Shaped[Tensor, "B C H W"], condition: ValuesLike = None
) -> float:
    """Mean negative log2-likelihood per sub-pixel, over all images: nats / (B·C·H·W·ln 2).

    Args:
        model: any model; dropout is off, whatever mode the model is in.
        x: integers 0 … levels-1.
        condition: a value for each of the B images, or one for all; several conditions are a tuple.
            The result is then that of NLL(x | condition), which does not compare with that of an
            unconditional model.

    Raises:
        ValueError: x is empty, or x or condition does not fit the model.
        TypeError: x does not hold integers.
    """
    if not x.numel():
        raise ValueError(f"x has shape {tuple(x.shape)}: there is nothing to score")
    return -float(score(model, x, condition).sum()) / (x.numel() * math.log(2))


def score(
    model: ImageModel, x: Shaped[Tensor, "B C H W"], condition: ValuesLike = None
) -> Float[Tensor, " B"]:
    """The log-likelihood of each image in nats, float64, on the CPU.

    Arguments as for `bits_per_dim`.
    """
    return scale_scores(model, x, condition).sum(dim=1)


def scale_scores(
    model: ImageModel, x: Shaped[Tensor, "B C H W"], condition: ValuesLike = None
) -> Float[Tensor, "B scales"]:
    """The log-likelihood of each image by scale, in nats, float64, on the CPU.

    Arguments as for `bits_per_dim`. A `MultiScale` has log p(small), log p(rest | small), and so
    on; other models have one scale. Each sub-pixel counts in one scale: see
    `models.core.Scale.counts`.
    """
    steps = [scale.step for scale in model.scales()]
    nats = torch.zeros(len(x), len(steps), dtype=torch.float64, device="cpu")
    for images, rows, _, log_prob in passes(model, x, condition):
        nats[images, steps.index(rows.step)] += log_prob.sum(dim=(1, 2, 3))
    return nats


def log_prob_map(
    model: ImageModel, x: Shaped[Tensor, "B C H W"], condition: ValuesLike = None
) -> Float[Tensor, "B C H W"]:
    """Log-probabilities of sub-pixels given their past, in nats, float64, on the CPU.

    Arguments as for `bits_per_dim`.
    """
    nats = torch.zeros(x.shape, dtype=torch.float64, device="cpu")
    for images, rows, columns, log_prob in passes(model, x, condition):
        nats[images, :, rows, columns] += log_prob
    return nats


def entropy_map(
    model: ImageModel, x: Shaped[Tensor, "B C H W"], condition: ValuesLike = None
) -> Float[Tensor, "B C H W"]:
    """Entropies of the distributions of sub-pixels given their past, in nats, float64, on the CPU.

    Arguments as for `bits_per_dim`.
    """
    nats = torch.zeros(x.shape, dtype=torch.float64, device="cpu")
    # A mixture holds all its components at every level, so that one row is enough at once.
    for images, rows, columns, entropy in passes(model, x, condition, ask=_entropy, most_rows=1):
        nats[images, :, rows, columns] += entropy
    return nats


def _entropy(distribution: Distribution, values: Tensor) -> Tensor:
    colours = range(values.shape[1])
    pmf = (distribution.log_pmf(values, channel).exp() for channel in colours)
    return torch.stack([torch.special.entr(p).sum(dim=1) for p in pmf], dim=1)


def dequantised_bits_per_dim(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    condition: ValuesLike = None,
    *,
    generator: torch.Generator | None = None,
) -> float:
    """Mean negative log2-density per sub-pixel of x + u, with u uniform on [0, 1).

    Continuous models are compared on this scale: a density on [0, levels)^D of dequantised data is
    at best as good as the probability of the integers (Uria et al., 2013; Theis et al., 2015). For
    a softmax or Bernoulli head, whose density is constant on [v, v+1), the two are **equal**. For
    the logistic mixture the result is that of the continuous model, which
    `TrainConfig(objective="density")` trains; `bits_per_dim` is that of its rounded draws, and
    never higher.

    Args:
        model, x, condition: as for `bits_per_dim`.
        generator: source of the noise; None takes torch's default generator.

    Raises:
        ValueError, TypeError: as `bits_per_dim`.
    """
    if not x.numel():
        raise ValueError(f"x has shape {tuple(x.shape)}: there is nothing to score")
    nats = dequantised_score(model, x, condition, generator=generator)
    return -float(nats.sum()) / (x.numel() * math.log(2))


def dequantised_score(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    condition: ValuesLike = None,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """The log-density of each image plus noise in nats, float64, on the CPU.

    Arguments as for `dequantised_bits_per_dim`.
    """
    nats = torch.zeros(len(x), dtype=torch.float64, device="cpu")
    noisy = dequantised(x, generator)
    for images, _, _, log_density in passes(model, x, condition, noisy, ask=_log_density):
        nats[images] += log_density.sum(dim=(1, 2, 3))
    return nats


def dequantised(
    x: Shaped[Tensor, "B C H W"], generator: torch.Generator | None = None
) -> Float[Tensor, "B C H W"]:
    """Integers plus uniform noise on [0, 1), rounded to less than the next integer."""
    real = x + draw_noise(torch.rand, x.shape, generator).to(x.device)
    following = (x + 1).to(real.dtype)
    return torch.minimum(real, torch.nextafter(following, torch.zeros_like(following)))


def _log_prob(distribution: Distribution, values: Tensor) -> Tensor:
    return distribution.log_prob(values)


def _log_density(distribution: Distribution, values: Tensor) -> Tensor:
    return distribution.log_density(values)


Ask = Callable[[Distribution, Tensor], Tensor]
"""What to take from a distribution for each sub-pixel, given values: (B, C, rows, W)."""


def passes(
    model: ImageModel,
    x: Tensor,
    condition: ValuesLike,
    values: Tensor | None = None,
    *,
    ask: Ask = _log_prob,
    most_rows: int | None = None,
) -> Iterator[tuple[slice, slice, slice, Tensor]]:
    """Goes through some images, some rows at a time: yields images, rows, columns and answers.

    `ask` is given the distribution of some rows and the values there, and answers with (B, …,
    rows, W): by default their log-probabilities.

    Values are x, or reals whose integer parts are x. The result is float64, on the CPU, and zero
    where the scale before counts a pixel.
    """
    check_values(model, x)
    size = x.shape[2], x.shape[3]
    conditions = broadcast(model.conditions, condition, len(x), size, model.device)
    for scale in evaluating(model).scales():
        network, step, coarser = scale
        every = slice(None, None, step)
        given = scale.given(x, conditions)
        asked = x if values is None else values
        for images, rows, answer in _raster_passes(
            network, x[:, :, every, every], given, asked[:, :, every, every], ask, most_rows
        ):
            if coarser is not None:
                apart = coarser // step
                answer[:, :, -rows.start % apart :: apart, ::apart] = 0
            yield images, slice(rows.start * step, rows.stop * step, step), every, answer


def _raster_passes(
    model: AutoregressiveModel,
    x: Tensor,
    given: Values,
    values: Tensor,
    ask: Ask,
    most_rows: int | None,
) -> Iterator[tuple[slice, slice, Tensor]]:
    batch, _, height, width = x.shape
    rows_of_one = min(rows_per_pass(model, 1, width), most_rows or batch * height)
    images_at_once, rows_at_once = max(1, rows_of_one // height), min(height, rows_of_one)
    for first in range(0, batch, images_at_once):
        images = slice(first, min(first + images_at_once, batch))
        part = x[images].to(model.device)
        theirs = tuple(value.to(model.device) for value in index(given, images))
        cache = Cache(len(part), model.colours, height, width) if rows_at_once < height else None
        for start in range(0, height, rows_at_once):
            rows = slice(start, min(start + rows_at_once, height))
            if cache is not None:
                cache.move_to_rows(rows.start, rows.stop)
            with torch.no_grad(), full_precision(model.device):
                distribution = model(part, theirs, cache)
                answer = ask(distribution, values[images, :, rows].to(model.device))
            del distribution  # before the next pass
            yield images, rows, answer.cpu().double()  # not every accelerator has float64
