"""How probable images are: nats, bits per dimension, maps.

The likelihood is exact: the sum of log p(x_i | x_<i) over all sub-pixels, in float32 or better,
with dropout off. As many images are scored at once as fit into half a gigabyte, and large images a
few rows at a time; the result is the same, and memory grows neither with the number of images nor
with their height.
"""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpixel.border import Admitted, ConditionGiven, Images, admit, checked_generator, tensor_of
from nextpixel.cache import Cache
from nextpixel.conditions.values import Values, index
from nextpixel.devices import draw_noise, full_precision
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Distribution
from nextpixel.layers.integers import check_integers
from nextpixel.layers.moments import moments
from nextpixel.models.core import (
    BYTES_PER_PASS,
    RasterModel,
    rows_per_pass,
)
from nextpixel.models.evaluation import evaluating
from nextpixel.orders import Order, known_order
from nextpixel.turning import turned

__all__ = [
    "bits_per_dim",
    "dequantised",
    "dequantised_bits_per_dim",
    "dequantised_score",
    "entropy_map",
    "log_prob_map",
    "mixed",
    "moment_maps",
    "order_scores",
    "passes",
    "scale_scores",
    "score",
]


def bits_per_dim(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> float:
    """Mean negative log2-likelihood per sub-pixel, over all images: nats / (B·C·H·W·ln 2).

    Args:
        model: any model, or a module as for `as_model`; dropout is off, whatever mode it is in.
        x: integers 0 … levels-1, in a tensor, an array or pictures: images (B, C, H, W) or one
            image (C, H, W); see `nextpixel.border`.
        condition: a value for each of the B images, or one for all; several conditions are a tuple.
            The result is then that of NLL(x | condition), which does not compare with that of an
            unconditional model.
        order: one of the orders that the model knows; None takes the mixture of all, see `score`.

    Raises:
        ValueError: x is empty, or x, condition or order does not fit the model.
        TypeError: x does not hold integers.
    """
    given = admit(model, x, condition)
    return _mean_bits(given, mixed(_by_order(given, order)))


def score(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> Float[Tensor, " *B"]:
    """The log-likelihood of each image in nats, float64, on the CPU.

    A model of n orders is the mixture p(x) = 1/n Σ_o p_o(x) of n distributions: a distribution
    again, whose log-likelihood is never less than the mean of theirs, and for which all n are
    computed. `order` asks for one of them. Arguments as for `bits_per_dim`. Of one image (C, H, W)
    it is one number, ().
    """
    given = admit(model, x, condition)
    return given.result(mixed(_by_order(given, order)))


def order_scores(
    model: nn.Module, x: Images, condition: ConditionGiven = None
) -> Float[Tensor, "*B orders"]:
    """The log-likelihood of each image in each of the model's orders, in nats, float64, on the CPU.

    Arguments as for `bits_per_dim`.
    """
    given = admit(model, x, condition)
    return given.result(_by_order(given, None))


def mixed(nats: Float[Tensor, "*B n"]) -> Float[Tensor, "*B"]:
    """The log-likelihood of an even mixture, from those of its n members."""
    return nats.logsumexp(dim=-1) - math.log(nats.shape[-1])


def scale_scores(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> Float[Tensor, "*B scales"]:
    """The log-likelihood of each image by scale in one order, in nats, float64, on the CPU.

    Arguments as for `bits_per_dim`, but None is the first order. A `MultiScale` has log p(small),
    log p(rest | small), and so on; other models have one scale. Each sub-pixel counts in one scale:
    see `models.core.Scale.counts`.
    """
    given = admit(model, x, condition)
    return given.result(_by_scale(given, order))


def log_prob_map(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> Float[Tensor, "*B C H W"]:
    """Log-probabilities of sub-pixels given their past, in nats, float64, on the CPU.

    They are those of one order, and add up to `score(model, x, condition, order=order)`: a mixture
    of orders has no past of its own. Arguments as for `bits_per_dim`, but None is the first order.
    The map has the shape of x.
    """
    given = admit(model, x, condition)
    return given.result(_map(given, order, _log_prob))


def entropy_map(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> Float[Tensor, "*B C H W"]:
    """Entropies of the distributions of sub-pixels given their past, in nats, float64, on the CPU.

    Arguments as for `log_prob_map`.
    """
    return moment_maps(model, x, condition, order=order)[1]


def moment_maps(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> tuple[Float[Tensor, "*B C H W"], Float[Tensor, "*B C H W"], Float[Tensor, "*B C H W"]]:
    """Surprises -log p(x), their expectations and their variances, in one pass.

    They are in nats and nats², float64, on the CPU; see `layers.moments`. Arguments as for
    `log_prob_map`.
    """
    given = admit(model, x, condition)
    surprise, entropy, variance = map(given.result, _map(given, order, moments, (3,)))
    return surprise, entropy, variance


def _by_order(given: Admitted, order: Order | None) -> Tensor:
    """The log-likelihood of each image in one order or in all, (B, orders)."""
    orders = given.model.orders if order is None else (order,)
    return torch.stack([_by_scale(given, one).sum(dim=1) for one in orders], dim=1)


def _by_scale(given: Admitted, order: Order | None) -> Tensor:
    """The log-likelihood of each image by scale, (B, scales)."""
    steps = [scale.step for scale in given.model.scales()]
    nats = torch.zeros(len(given.x), len(steps), dtype=torch.float64, device="cpu")
    for images, rows, _, log_prob in passes(given, order):
        nats[images, steps.index(rows.step)] += log_prob.sum(dim=(1, 2, 3))
    return nats


def _map(given: Admitted, order: Order | None, ask: "Ask", parts: tuple[int, ...] = ()) -> Tensor:
    """What is asked for each sub-pixel, of so many parts."""
    order = known_order(given.model.orders, order)
    found = torch.zeros(*parts, *given.x.shape, dtype=torch.float64, device="cpu")
    seen = order.turn(found)
    for images, rows, columns, answer in passes(given, order, ask=ask):
        seen[..., images, :, rows, columns] += answer
    return order.turn_back(seen)


def _mean_bits(given: Admitted, nats: Tensor) -> float:
    """Bits per sub-pixel over all images."""
    if not len(given.x):
        raise UsageError(f"‹x› has shape {tuple(given.x.shape)}: there is nothing to score")
    return -float(nats.sum()) / (given.x.numel() * math.log(2))


def dequantised_bits_per_dim(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    generator: torch.Generator | None = None,
    order: Order | None = None,
) -> float:
    """Mean negative log2-density per sub-pixel of x + u, with u uniform on [0, 1).

    Continuous models are compared on this scale: a density on [0, levels)^D of dequantised data is
    at best as good as the probability of the integers (Uria et al., 2013; Theis et al., 2015). For
    a softmax or Bernoulli head, whose density is constant on [v, v+1), the two are **equal**. For
    the logistic mixture the result is that of the continuous model, which
    `TrainConfig(objective="density")` trains; `bits_per_dim` is that of its rounded draws, and
    never higher.

    Args:
        model, x, condition, order: as for `bits_per_dim`.
        generator: source of the noise; None takes torch's default generator.

    Raises:
        ValueError, TypeError: as `bits_per_dim`.
    """
    given = admit(model, x, condition)
    return _mean_bits(given, _densities(given, generator, order))


def dequantised_score(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    generator: torch.Generator | None = None,
    order: Order | None = None,
) -> Float[Tensor, " *B"]:
    """The log-density of each image plus noise in nats, float64, on the CPU.

    Arguments as for `dequantised_bits_per_dim`.
    """
    given = admit(model, x, condition)
    return given.result(_densities(given, generator, order))


def _densities(given: Admitted, generator: torch.Generator | None, order: Order | None) -> Tensor:
    """The log-density of each image plus noise, (B,)."""
    orders = given.model.orders if order is None else (order,)
    nats = torch.zeros(len(given.x), len(orders), dtype=torch.float64, device="cpu")
    noisy = dequantised(given.x, generator)
    for k, one in enumerate(orders):
        for images, _, _, log_density in passes(given, one, noisy, ask=_log_density):
            nats[images, k] += log_density.sum(dim=(1, 2, 3))
    return mixed(nats)


def dequantised(x: Images, generator: torch.Generator | None = None) -> Float[Tensor, "..."]:
    """Integers plus uniform noise on [0, 1), rounded to less than the next integer.

    Args:
        x: integers of any width, which are widened first.
        generator: source of the noise; None takes torch's default generator.

    Raises:
        TypeError: x does not hold integers.
    """
    x = tensor_of("x", x)
    check_integers(x)
    x, generator = x.long(), checked_generator(generator)
    real = x + draw_noise(torch.rand, x.shape, generator).to(x.device)
    following = (x + 1).to(real.dtype)
    return torch.minimum(real, torch.nextafter(following, torch.zeros_like(following)))


def _log_prob(distribution: Distribution, values: Tensor) -> Tensor:
    return distribution.log_prob(values)


def _log_density(distribution: Distribution, values: Tensor) -> Tensor:
    return distribution.log_density(values)


Ask = Callable[[Distribution, Tensor], Tensor]
"""What to take from a distribution for each sub-pixel, given values: (…, B, C, rows, W)."""


def passes(
    given: Admitted,
    order: Order | None,
    values: Tensor | None = None,
    *,
    ask: Ask = _log_prob,
    most_bytes: int = BYTES_PER_PASS,
) -> Iterator[tuple[slice, slice, slice, Tensor]]:
    """Goes through some images, some rows at a time: yields images, rows, columns and answers.

    `ask` is given the distribution of some rows and the values there, and answers with (B, …,
    rows, W): by default their log-probabilities.

    Values are x, or reals whose integer parts are x. The result is float64, on the CPU, and zero
    where the scale before counts a pixel. Rows and columns are those of images that are turned to
    the order; None is the first one.
    """
    model, order = given.model, known_order(given.model.orders, order)
    x, conditions = turned(model, [order] * len(given.x), given.x, given.values)
    asked = x if values is None else order.turn(values)
    for scale in evaluating(model).scales():
        network, step, coarser = scale
        every = slice(None, None, step)
        theirs = scale.given(x, conditions)
        for images, rows, answer in _raster_passes(
            network, x[:, :, every, every], theirs, asked[:, :, every, every], ask, most_bytes
        ):
            if coarser is not None:
                apart = coarser // step
                answer[..., -rows.start % apart :: apart, ::apart] = 0
            yield images, slice(rows.start * step, rows.stop * step, step), every, answer


def _raster_passes(
    model: RasterModel,
    x: Tensor,
    given: Values,
    values: Tensor,
    ask: Ask,
    most_bytes: int,
) -> Iterator[tuple[slice, slice, Tensor]]:
    batch, _, height, width = x.shape
    rows_of_one = min(rows_per_pass(model, 1, width, most_bytes), batch * height)
    images_at_once, rows_at_once = max(1, rows_of_one // height), min(height, rows_of_one)
    for first in range(0, batch, images_at_once):
        images = slice(first, min(first + images_at_once, batch))
        part = x[images].to(model.device).long()
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
