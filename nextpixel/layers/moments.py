"""Surprise, its expectation and its variance, of each sub-pixel, in one sweep over all values.

The three are s = -log p(x), H = E[-log p] and V = E[(-log p - H)²] under the same distribution.
Values are gone through a few thousand at a time, so that every intermediate result stays in the
processor's cache and memory does not grow with the number of values.
"""

from collections.abc import Iterator
from functools import singledispatch

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from nextpixel.layers.heads import Bernoulli, Categorical, Distribution, LogisticMixture, nats_of

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
        parts = [_spread(every[some], every[some].exp()) for some in _pieces(every, 1)]
        spreads.append(torch.cat(parts, dim=1).view(2, *log_pmf.shape[:3]))
    return torch.cat([-nats_of(distribution, x)[None], torch.stack(spreads, dim=2)])


@moments.register
def _of_categorical(distribution: Categorical, x: Tensor) -> Tensor:
    # Values last, as in `log_prob`.
    logits, values = distribution.logits.permute(0, 3, 4, 1, 2), x.permute(0, 2, 3, 1)
    every, truth = logits.flatten(0, 3), values.reshape(-1, 1)
    precision = torch.promote_types(every.dtype, torch.float32)
    found = torch.empty(3, len(every), dtype=precision, device=every.device)
    for some in _pieces(every, 1):
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
    """From the cumulative distribution at the edges between values: one sigmoid each.

    Below the mean it is that of smaller values, from there on that of larger ones, so that
    differences of neighbouring edges do not cancel in either tail.
    """
    levels, spreads = distribution.levels, []
    edges = torch.arange(levels - 1, device=x.device)
    for channel in range(x.shape[1]):
        weights = distribution.weights(x, channel).exp().movedim(1, 3)
        mean = distribution.mean(x, channel).movedim(1, 3).flatten(0, 2)
        steep = torch.exp(-distribution.log_scales[:, channel]).movedim(1, 3).flatten(0, 2)
        weight, parts = weights.flatten(0, 2), []
        for some in _pieces(weight, levels):
            pmf = _pmf(weight[some], mean[some], steep[some], edges)
            tiny = torch.finfo(pmf.dtype).tiny
            parts.append(_spread(pmf.clamp(min=tiny).log_(), pmf))
        spreads.append(torch.cat(parts, dim=1).view(2, *weights.shape[:3]))
    return torch.cat([-distribution.nats(x)[None], torch.stack(spreads, dim=2)])


def _pmf(weight: Tensor, mean: Tensor, steep: Tensor, edges: Tensor) -> Tensor:
    """The probabilities of all values, (n, levels), by mixtures of K logistics, each (n, K).

    Edge j lies between the values j and j+1, at (2j + 1) / (levels - 1) - 1.
    """
    gaps = len(edges)  # levels - 1
    centre = ((weight * mean).sum(dim=1, keepdim=True) + 1) * (gaps / 2)
    middle = centre.nan_to_num().clamp(0, gaps).floor().clamp(max=gaps - 1)  # an edge, (n, 1)
    sign = torch.where(edges < middle, 1.0, -1.0).to(mean.dtype)
    lines = torch.stack([steep, ((2 * middle + 1) / gaps - 1 - mean) * steep], dim=2)
    places = torch.stack([sign * (edges - middle) * (2 / gaps), sign], dim=1)
    tails = torch.bmm(weight[:, None], torch.bmm(lines, places).sigmoid_())[:, 0]
    tails = functional.pad(tails, (1, 1))
    pmf = tails.diff(dim=1).abs_()
    at = middle.long()
    inner = 1 - tails.gather(1, at) - tails.gather(1, at + 1)
    return pmf.scatter_(1, at, inner.clamp(min=0))


def _spread(log_pmf: Tensor, pmf: Tensor) -> Tensor:
    """Mean and variance of -log p, (2, n), of distributions (n, levels)."""
    log_pmf = log_pmf.clamp(min=-_NEVER)  # 0 · -∞
    entropy = -torch.linalg.vecdot(pmf, log_pmf)
    excess = log_pmf.add_(entropy[:, None])
    return torch.stack([entropy, torch.linalg.vecdot(pmf * excess, excess)])


def _pieces(numbers: Tensor, times: int) -> Iterator[slice]:
    """Slices of a matrix of whose numbers each is used so many times at once."""
    at_once = _AT_ONCE if numbers.device.type == "cpu" else _ELSEWHERE
    length = max(1, at_once // (numbers.shape[1] * times))
    for start in range(0, len(numbers), length):
        yield slice(start, start + length)
