"""Surprise, its expectation and its variance, of each sub-pixel, in one sweep over all values.

The three are s = -log p(x), H = E[-log p] and V = E[(-log p - H)²] under the same distribution.
Values are gone through a few thousand at a time, so that every intermediate result stays in the
processor's cache and memory does not grow with the number of values.
"""

import math
from collections.abc import Iterator
from functools import singledispatch

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from nextpixel.layers.distributions import Distribution, nats_of
from nextpixel.layers.heads import Bernoulli, Categorical, LogisticMixture

__all__ = ["moments"]

_AT_ONCE = 1 << 17
"""How many numbers lie in the cache of a processor."""
_ELSEWHERE = 1 << 25
"""How many other devices take at once."""
_NEVER = 800.0
"""Nats beyond which a probability is zero in any precision."""


@singledispatch
def moments(distribution: Distribution, x: Tensor) -> Float[Tensor, "3 B C H W"]:
    """Surprise and entropy in nats, and variance in nats², of each sub-pixel of x given its past.

    A distribution of a user's own is asked for the log-probability of every value.
    """
    spreads = []
    for channel in range(x.shape[1]):
        log_pmf = distribution.log_pmf(x, channel).movedim(1, 3)
        every = log_pmf.reshape(-1, log_pmf.shape[3])
        parts = [
            _spread(every[some], every[some].exp())
            for some in _pieces(every.shape[0], every.shape[1], every.device)
        ]
        spreads.append(torch.cat(parts, dim=1).view(2, *log_pmf.shape[:3]))
    return torch.cat([-nats_of(distribution, x)[None], torch.stack(spreads, dim=2)])


@moments.register
def _of_categorical(distribution: Categorical, x: Tensor) -> Tensor:
    # Values last, as in `log_prob`.
    logits, values = distribution.logits.permute(0, 3, 4, 1, 2), x.permute(0, 2, 3, 1)
    every, truth = logits.flatten(0, 3), values.reshape(-1, 1)
    precision = torch.promote_types(every.dtype, torch.float32)
    found = torch.empty(3, len(every), dtype=precision, device=every.device)
    for some in _pieces(every.shape[0], every.shape[1], every.device):
        log_pmf = functional.log_softmax(every[some], dim=1, dtype=precision)
        found[0, some] = -log_pmf.gather(1, truth[some].long())[:, 0]
        found[1:, some] = _spread(log_pmf, log_pmf.exp())
    return found.view(3, *values.shape).permute(0, 1, 4, 2, 3)


@moments.register
def _of_bernoulli(distribution: Bernoulli, x: Tensor) -> Tensor:
    # A probability is zero long before, and 0 · ∞ is no number.
    logits = distribution.logits.clamp(-_NEVER, _NEVER)
    one, other = logits.sigmoid(), (-logits).sigmoid()
    entropy = -one * functional.logsigmoid(logits) - other * functional.logsigmoid(-logits)
    # The two surprises differ by the logit.
    return torch.stack([-distribution.nats(x), entropy, one * other * logits**2])


@moments.register
def _of_mixture(distribution: LogisticMixture, x: Tensor) -> Tensor:
    levels, nats, spreads = distribution.levels, [], []
    fine = levels // _BINS if levels % _BINS == 0 and levels > 2 * _BINS else 1
    for channel, (weights, log_prob) in enumerate(distribution.chain(x)):
        steep = torch.exp(-distribution.log_scales[:, channel])
        parts = weights.softmax(dim=1), distribution.mean(x, channel), steep
        weight, mean, steep = (part.movedim(1, 0).flatten(1) for part in parts)
        found = [
            _of_logistics(weight[:, some], mean[:, some], steep[:, some], levels, fine)
            for some in _pieces(weight.shape[1], 2 * levels // fine, x.device)
        ]
        nats.append(-log_prob)
        spreads.append(torch.cat(found, dim=1).view(2, *log_prob.shape))
    return torch.cat([torch.stack(nats, dim=1)[None], torch.stack(spreads, dim=2)])


_BINS = 32
"""How many bins the values of a mixture of more than twice as many levels fall into."""
_TOLERANCE = 1e-5
"""Nats by which a bin that is not computed value by value may count wrongly."""


def _of_logistics(weight: Tensor, mean: Tensor, steep: Tensor, levels: int, fine: int) -> Tensor:
    """Mean and variance of -log p, (2, n), of mixtures of K discretised logistics, each (K, n).

    The mass of a bin of `fine` values takes one sigmoid for each component, at an edge. A bin in
    which log p is nearly straight needs no more: with a slope of δ from bin to bin, p departs from
    an even spread by δ²/24 nats. Bins in which narrow components have mass, or the slope changes,
    are computed value by value. With bins of one value nothing is approximated.
    """
    bins, value = levels // fine, 2 / (levels - 1)
    width, first = fine * value, (fine - 0.5) * value - 1  # the upper edge of the first bin
    centre = ((weight * mean).sum(dim=0) - first) / width
    middle = centre.nan_to_num().round().clamp(0, bins - 2)  # the edge where sides change
    lines = weight, steep, (first + middle * width - mean) * steep
    places = torch.arange(bins - 1, dtype=mean.dtype, device=mean.device)[:, None] - middle
    # A component that is flat over a bin bends it little; one that is narrow, by its mass at most.
    bends = weight * (steep * width).pow(4).div(256).clamp(max=math.log(fine))
    side = (places <= 0).to(mean.dtype) * 2 - 1
    tails, bent = _tails(lines, places * width, (weight, bends), side)
    mass = _between(tails, middle, weight.sum(dim=0))
    tiny = torch.finfo(mass.dtype).tiny
    log_mean = (mass / fine).clamp(min=tiny).log_()
    entropy = -(mass * log_mean).sum(dim=0)
    excess = -log_mean - entropy
    if fine == 1:
        return torch.stack([entropy, (mass * excess * excess).sum(dim=0)])
    near = torch.cat([_beyond(log_mean[1:4]), log_mean[1:-1], _beyond(log_mean[-4:-1].flip(0))])
    near = torch.cat([near[:1], near, near[-1:]])
    slope, curve = (near[2:] - near[:-2]) / 2, near.diff(dim=0).diff(dim=0)
    departs = (slope.square_() / 24).clamp_(max=math.log(fine)) * (1 - 1 / fine**2)
    bent = torch.maximum(_between(bent, middle, bends.sum(dim=0)), mass * curve.square_() / 100)
    bent[:: bins - 1] = mass[:: bins - 1]  # values beyond the range count as the outermost
    rough = bent > _TOLERANCE
    flat = mass.where(~rough, 0)
    one = (flat * (excess - departs)).sum(dim=0)
    two = (flat * (excess * (excess - 2 * departs) + 2 * departs)).sum(dim=0)
    padded = functional.pad(tails, (0, 0, 1, 1))
    places, sites = rough.nonzero(as_tuple=True)
    inner = torch.arange(1, fine, dtype=mean.dtype, device=mean.device)[:, None] * value
    for some in _pieces(len(sites), 2 * fine, mean.device):
        place, site = places[some], sites[some]
        start = (place - 1).to(mean.dtype) - middle[site]  # the lower edge of each bin
        side = (start < 0).to(mean.dtype) * 2 - 1
        own, slope, offset = (line.index_select(1, site) for line in lines)
        (inside,) = _tails((own, slope * side, offset * side), start * width + inner, (own,), None)
        lower, upper = padded[place, site], padded[place + 1, site]
        lower = torch.where(start == 0, 1 - lower, lower)
        pmf = torch.cat([lower[None], inside, upper[None]]).diff(dim=0).abs_()
        more = pmf.clamp(min=tiny).log_().add_(entropy[site]).neg_()
        one.index_add_(0, site, (pmf := pmf * more).sum(dim=0))
        two.index_add_(0, site, pmf.mul_(more).sum(dim=0))
    return torch.stack([entropy + one, (two - one.square()).clamp(min=0)])


def _tails(
    lines: tuple[Tensor, Tensor, Tensor],
    places: Tensor,
    sums: tuple[Tensor, ...],
    side: Tensor | None,
) -> list[Tensor]:
    """Mass to the left of places (E, n), for one or more kinds of weights (K, n).

    Where `side` is -1 it is the mass to the right; so differences of neighbours cancel in neither
    tail.
    """
    found = [torch.zeros_like(places) for _ in sums]
    line = torch.empty_like(places)
    for k in range(len(lines[0])):
        beyond = torch.addcmul(lines[2][k], places, lines[1][k], out=line)
        beyond = (beyond if side is None else beyond.mul_(side)).sigmoid_()
        for total, weight in zip(found, sums, strict=True):
            total.addcmul_(beyond, weight[k])
    return found


def _between(tails: Tensor, middle: Tensor, total: Tensor) -> Tensor:
    """Masses between edges from those beyond them; sides change behind the edge `middle`, (n,)."""
    tails = functional.pad(tails, (0, 0, 1, 1))
    masses, at = tails.diff(dim=0).abs_(), middle.long()[None] + 1
    across = total - tails.gather(0, at) - tails.gather(0, at + 1)
    return masses.scatter_(0, at, across.clamp_(min=0))


def _beyond(rows: Tensor) -> Tensor:
    """The number before three, on the parabola through them."""
    return 3 * rows[:1] - 3 * rows[1:2] + rows[2:]


def _spread(log_pmf: Tensor, pmf: Tensor) -> Tensor:
    """Mean and variance of -log p, (2, n), of distributions (n, levels)."""
    log_pmf = log_pmf.clamp(min=-_NEVER)  # 0 · -∞
    entropy = -torch.linalg.vecdot(pmf, log_pmf)
    excess = log_pmf.add_(entropy[:, None])
    return torch.stack([entropy, torch.linalg.vecdot(pmf * excess, excess)])


def _pieces(sites: int, numbers: int, device: torch.device) -> Iterator[slice]:
    """Slices of so many sites, each with so many numbers at once."""
    length = max(1, (_AT_ONCE if device.type == "cpu" else _ELSEWHERE) // numbers)
    for start in range(0, sites, length):
        yield slice(start, start + length)
