"""From the outputs of an exact model to integer frequencies, by integer arithmetic alone.

A value v of L has the numbers F(v) … F(v + 1) - 1 of the 2^P numbers of a coder, where

    F(v) = v + ⌊C(v) · (2^P - L) / C(L)⌋

and C is the distribution function, unnormalised: C(0) = 0, and C never falls. So every value has a
frequency of at least one, and what the model holds for impossible can be coded, too. C of a softmax
adds up exponentials from a table; C of a mixture of logistics adds up weighted sigmoids, at the
boundaries between values.
"""

from abc import ABC, abstractmethod
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.codec.tables import (
    EXPONENTIAL_BITS,
    SCALE_BITS,
    SHARPEST,
    STEPS,
    WIDEST,
    exponential,
    inverse_scales,
    logistic,
    squashing,
)
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Distribution
from nextpixel.layers.heads import Bernoulli, Categorical, LogisticMixture

__all__ = ["MOST_LEVELS", "Cumulative", "cumulative", "frequencies", "precision"]

Integers = NDArray[np.int64]
Logits = NDArray[np.float32]

MOST_LEVELS = 1 << 16


def precision(levels: int) -> int:
    """P: frequencies add up to 2^P; the floor of one costs 2^-16 of all at most 256 values."""
    return min(24, 16 + (levels - 1).bit_length())


class Cumulative(ABC):
    """The distributions of n sites."""

    levels: int

    @abstractmethod
    def __len__(self) -> int:
        """The number of sites."""

    @abstractmethod
    def part(self, sites: slice | Integers) -> "Cumulative":
        """Those of some sites."""

    @abstractmethod
    def counts(self, values: Integers) -> tuple[Integers, Integers]:
        """C of values (n, m), and C(L), (n, 1); C(L) · 2^P is less than 2^63."""

    def at(self, values: Integers) -> Integers:
        """F of values 0 … L, (n, m)."""
        counts, total = self.counts(values)
        return values + counts * ((1 << precision(self.levels)) - self.levels) // total

    def rows(self) -> Integers:
        """F of all values, (n, L + 1)."""
        every = np.arange(self.levels + 1)
        return self.at(np.broadcast_to(every, (len(self), len(every))))

    def find(self, numbers: Integers) -> tuple[Integers, Integers]:
        """The values v of numbers 0 … 2^P - 1, (n,), with F(v) and F(v + 1), (n, 2)."""
        low, apart = np.zeros((len(numbers), 1), dtype=np.int64), 1 << self.levels.bit_length()
        while apart > 1:
            apart = max(1, apart // _WAYS)
            higher = (low + apart * np.arange(1, _WAYS)).clip(max=self.levels)
            low += apart * np.count_nonzero(
                self.at(higher) <= numbers[:, None], axis=1, keepdims=True
            )
        return low[:, 0], self.at(np.concatenate([low, low + 1], axis=1))


_WAYS = 8  # into how many parts a step of a search divides what is left


class _Softmax(Cumulative):
    """Of a softmax of logits (n, L), multiples of 2^-10 within ±2^11: float32 holds them."""

    def __init__(self, logits: Logits) -> None:
        self._logits, self.levels = logits, logits.shape[1]

    def __len__(self) -> int:
        return len(self._logits)

    def part(self, sites: slice | Integers) -> "_Softmax":
        return _Softmax(self._logits[sites])

    def counts(self, values: Integers) -> tuple[Integers, Integers]:
        counts, totals = np.empty_like(values), np.empty((len(self), 1), dtype=np.int64)
        for start in range(0, len(self), _SITES_AT_ONCE):
            some = slice(start, start + _SITES_AT_ONCE)
            cumulated = self._cumulated(self._logits[some])
            counts[some] = np.take_along_axis(cumulated, values[some], axis=1)
            totals[some] = cumulated[:, -1:]
        return counts, totals

    def rows(self) -> Integers:
        counts = self._cumulated(self._logits)
        total = counts[:, -1:].copy()
        counts *= (1 << precision(self.levels)) - self.levels
        counts //= total
        counts += np.arange(self.levels + 1)
        return counts

    def find(self, numbers: Integers) -> tuple[Integers, Integers]:
        scale, counts = (1 << precision(self.levels)) - self.levels, self._cumulated(self._logits)
        total, every = counts[:, -1:], np.arange(self.levels + 1)
        # F before it is rounded down, in floating point: a value may be the next one.
        nearly = counts * (scale / total)
        nearly += every
        values = np.count_nonzero(nearly < numbers[:, None] + 1, axis=1).clip(1, self.levels) - 1
        while True:
            both = np.stack([values, values + 1], axis=1)
            bounds = both + np.take_along_axis(counts, both, axis=1) * scale // total
            early, late = bounds[:, 0] > numbers, bounds[:, 1] <= numbers
            if not (early | late).any():
                return values, bounds
            values = values + late - early

    def _cumulated(self, logits: Logits) -> Integers:
        """C of all values, (n, L + 1)."""
        table = _exponential(max(0, (self.levels - 1).bit_length() - _TABLE_BITS))
        below = logits.max(axis=1, keepdims=True) - logits
        np.minimum(below, np.float32((len(table) - 1) / STEPS), out=below)
        # The number that rounds to multiples of 2^-10 has the place in its last bits.
        below += _ROUNDING
        places = below.view(np.int32)
        places -= _ROUNDING_BITS
        cumulated = np.zeros((len(logits), self.levels + 1), dtype=np.int64)
        np.cumsum(table[places], axis=1, out=cumulated[:, 1:])
        return cumulated


_SITES_AT_ONCE = 256  # so that what is computed stays in the cache
_TABLE_BITS = 10  # of levels: their sum of 28 bits each, times 2^24, is less than 2^63
_ROUNDING = np.float32(1.5 * 2.0**13)
_ROUNDING_BITS = _ROUNDING.view(np.int32)


@lru_cache(maxsize=4)
def _exponential(less: int) -> Integers:
    """`tables.exponential` without its last bits."""
    return exponential() >> less


class _Mixture(Cumulative):
    """Of a mixture of K logistics.

    Args:
        weights: of the components, (n, K), at most 2^28.
        means: (n, K), in units of 2^-28 of the centred image.
        inverse: inverse scales (n, K), in units of 2^-20.
        levels: L.
    """

    def __init__(self, weights: Integers, means: Integers, inverse: Integers, levels: int) -> None:
        self._weights, self._means, self._inverse = weights, means, inverse
        self.levels = levels

    def __len__(self) -> int:
        return len(self._weights)

    def part(self, sites: slice | Integers) -> "_Mixture":
        return _Mixture(self._weights[sites], self._means[sites], self._inverse[sites], self.levels)

    def counts(self, values: Integers) -> tuple[Integers, Integers]:
        counts = (self._weights[:, None] * self.below(values)).sum(axis=2)
        total = self._weights.sum(axis=1, keepdims=True) << EXPONENTIAL_BITS
        return counts >> _MIXTURE_SHIFT, total >> _MIXTURE_SHIFT

    def below(self, values: Integers) -> Integers:
        """The mass of each component below values (n, m), in units of 2^-28: (n, m, K)."""
        edges = _edges(self.levels)[values][:, :, None]
        offsets = (edges - self._means[:, None] >> 8).clip(-(8 << 20), 8 << 20)
        u = offsets * self._inverse[:, None] >> SCALE_BITS + 2  # in units of 2^-18
        u = u.clip(-SHARPEST << 8, (SHARPEST << 8) - 1)
        table, place = logistic(), (u >> 8) + SHARPEST
        mass: Integers = table[place]
        mass += (table[place + 1] - mass) * (u & 255) >> 8
        mass[values == 0] = 0
        mass[values == self.levels] = 1 << EXPONENTIAL_BITS
        return mass

    def given(self, value: Integers) -> Integers:
        """The components' weights, given the values (n,) of a colour."""
        both = self.below(np.stack([value, value + 1], axis=1))
        joint = self._weights * (both[:, 1] - both[:, 0])
        largest = joint.max(axis=1, keepdims=True)
        bits = np.frexp(largest.astype(np.float64))[1].astype(np.int64)
        few, many = (EXPONENTIAL_BITS - bits).clip(min=0), (bits - EXPONENTIAL_BITS).clip(min=0)
        shifted = joint << few >> many
        given: Integers = np.where(largest > 0, shifted, self._weights)
        return given


_MIXTURE_SHIFT = 21  # ten components of 28 bits, times 28 and 24 bits, need less than 63 + 21


@lru_cache(maxsize=8)
def _edges(levels: int) -> Integers:
    """(2v - 1) / (L - 1) - 1 for v = 0 … L, rounded to units of 2^-28."""
    twice = 2 * np.arange(levels + 1) - 1
    return ((twice << 29) + levels - 1) // (2 * (levels - 1)) - (1 << 28)


def _logistics(distribution: LogisticMixture, x: Tensor, channel: int) -> _Mixture:
    """Of one colour, given the earlier colours of x (B, c, H, W)."""
    parts = distribution.parts.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (n, parts, K)
    integers = (parts * (1 << 16)).to(torch.int64).cpu().numpy()
    earlier = x[:, :channel].permute(0, 2, 3, 1).flatten(0, 2).cpu().numpy().astype(np.int64)
    channels, levels = distribution.channels, distribution.levels
    logits = integers[:, 0]
    below = (logits.max(axis=1, keepdims=True) - logits) >> 6
    weights = exponential()[below.clip(max=len(exponential()) - 1)]
    tanh = (squashing(torch.device("cpu"))[: 2 * WIDEST + 1] * 4096).numpy().astype(np.int64)
    centred = (earlier * (1 << 18) + levels - 1) // (2 * (levels - 1)) - (1 << 16)
    predicted = np.zeros((1, channels, 1), dtype=np.int64)
    if distribution.predictions is not None:
        found = distribution.predictions.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (n, C, K)
        predicted = (found * (1 << 16)).to(torch.int64).cpu().numpy()
    for colour in range(channel + 1):
        means = integers[:, 1 + colour] + predicted[:, colour] << 12
        first = 1 + 2 * channels + colour * (colour - 1) // 2
        for other in range(colour):
            places = (integers[:, first + other] >> 6).clip(-WIDEST, WIDEST) + WIDEST
            rest = centred[:, other, None] - predicted[:, other]
            means = means + tanh[places] * rest
        scales = integers[:, 1 + channels + colour] >> 6
        half = len(inverse_scales()) // 2
        mixture = _Mixture(
            weights, means, inverse_scales()[scales.clip(-half, half) + half], levels
        )
        if colour < channel:
            weights = mixture.given(earlier[:, colour])
    return mixture


def cumulative(distribution: Distribution, x: Tensor, channel: int) -> Cumulative:
    """The distributions of one colour of an exact model's sites, in the order (B, H, W).

    Args:
        distribution: of a block of sites (B, C, H, W), or of one colour of them.
        x: values of the earlier colours (B, c, H, W).
        channel: the colour.

    Raises:
        UsageError: a model's distribution is of no known kind.
    """
    if isinstance(distribution, LogisticMixture):
        return _logistics(distribution, x, channel)
    if isinstance(distribution, Categorical):
        of_colour = distribution.logits[:, channel if distribution.logits.shape[1] > 1 else 0]
        return _Softmax(of_colour.float().cpu().permute(0, 2, 3, 1).flatten(0, 2).numpy())
    if isinstance(distribution, Bernoulli):
        logit = distribution.logits[:, channel if distribution.logits.shape[1] > 1 else 0]
        logits = torch.stack([torch.zeros_like(logit), logit], dim=3)
        return _Softmax(logits.float().cpu().flatten(0, 2).numpy())
    raise UsageError(
        f"a {type(distribution).__name__} has no exact frequencies; compress with a model whose"
        " head is softmax, bernoulli or logistic"
    )


def frequencies(distribution: Distribution, x: Tensor, channel: int) -> Int64[Tensor, "B L H W"]:
    """The integer frequencies of all values of one colour; they add up to 2^`precision(levels)`.

    Arguments as for `Distribution.log_pmf`; the distribution is that of a model of
    `nextpixel.codec.exact`. The frequencies are a function of its integers alone.
    """
    found = cumulative(distribution, x, channel)
    rows = torch.from_numpy(np.diff(found.rows(), axis=1))
    batch, _, height, width = x.shape
    return rows.view(batch, height, width, found.levels).permute(0, 3, 1, 2)
