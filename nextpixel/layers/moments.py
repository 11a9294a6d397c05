"""Surprise, its expectation and its variance, of each sub-pixel, in one sweep over all values.

The three are s = -log p(x), H = E[-log p] and V = E[(-log p - H)²] under the same distribution.
Values are gone through a few thousand at a time, so that every intermediate result stays in the
processor's cache and memory does not grow with the number of values.
"""

from functools import singledispatch

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from nextpixel.layers.distributions import Distribution, nats_of
from nextpixel.layers.heads import Bernoulli, Categorical, LogisticMixture
from nextpixel.layers.mixture_moments import logistic_moments, pieces

__all__ = ["moments"]

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
            for some in pieces(every.shape[0], every.shape[1], every.device)
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
    for some in pieces(every.shape[0], every.shape[1], every.device):
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
    nats, spreads = [], []
    values = (distribution.levels - 1) / 2  # of a unit of means and scales
    for channel, (weights, log_prob) in enumerate(distribution.chain(x)):
        slope = torch.exp(-distribution.log_scales[:, channel]).div_(values)
        mean = (distribution.mean(x, channel) + 1) * values
        parts = weights.softmax(dim=1), mean, slope
        weight, mean, slope = (part.movedim(1, 0).flatten(1) for part in parts)
        nats.append(-log_prob)
        spread = logistic_moments(weight, mean, slope, distribution.levels)
        spreads.append(spread.view(2, *log_prob.shape))
    return torch.cat([torch.stack(nats, dim=1)[None], torch.stack(spreads, dim=2)])


def _spread(log_pmf: Tensor, pmf: Tensor) -> Tensor:
    """Mean and variance of -log p, (2, n), of distributions (n, levels)."""
    log_pmf = log_pmf.clamp(min=-_NEVER)  # 0 · -∞
    entropy = -torch.linalg.vecdot(pmf, log_pmf)
    excess = log_pmf.add_(entropy[:, None])
    return torch.stack([entropy, torch.linalg.vecdot(pmf * excess, excess)])
