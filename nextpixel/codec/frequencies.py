"""From the outputs of an exact model to integer frequencies, by integer arithmetic alone.

A value v of L has the numbers F(v) … F(v + 1) - 1 of the 2^P numbers of a coder, where

    F(v) = v + ⌊C(v) · (2^P - L) / C(L)⌋

and C is the distribution function, unnormalised: C(0) = 0, and C never falls. So every value has a
frequency of at least one, and what the model holds for impossible can be coded, too. C of a softmax
adds up exponentials from a table; C of a mixture of logistics adds up weighted sigmoids, at the
boundaries between values.
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice

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

__all__ = [
    "MOST_LEVELS",
    "Cumulative",
    "Finder",
    "blocks",
    "cumulative",
    "every_cumulative",
    "frequencies",
    "precision",
]

Integers = NDArray[np.int64]
Finder = Callable[[int, int], tuple[int, int, int]]
"""Gives for a site and one of its numbers 0 … 2^P - 1 the value v, F(v) and F(v + 1)."""

MOST_LEVELS = 1 << 16


def precision(levels: int) -> int:
    """P: frequencies add up to 2^P; the floor of one costs 2^-16 of all at most 256 values."""
    return min(24, 16 + (levels - 1).bit_length())


def blocks(sites: int, numbers: int) -> Iterator[slice]:
    """Blocks of sites with so many numbers each, which stay in the cache."""
    at_once = max(1, _NUMBERS_AT_ONCE // numbers)
    return (slice(start, start + at_once) for start in range(0, sites, at_once))


_NUMBERS_AT_ONCE = 1 << 15


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
    def at(self, values: Integers) -> Integers:
        """F of values 0 … L, (n, m)."""

    @abstractmethod
    def finder(self) -> Finder:
        """What finds values by their numbers: prepared for all sites at once, asked one by one."""

    def rows(self) -> Integers:
        """F of all values, (n, L + 1)."""
        every = np.arange(self.levels + 1)
        return self.at(np.broadcast_to(every, (len(self), len(every))))


class _Softmax(Cumulative):
    """Of a softmax of logits (n, L), multiples of 2^-10 within ±2^11: float32 holds them."""

    def __init__(self, logits: Tensor) -> None:
        self._logits, self.levels = logits, logits.shape[1]

    def __len__(self) -> int:
        return len(self._logits)

    def part(self, sites: slice | Integers) -> "_Softmax":
        return _Softmax(
            self._logits[sites if isinstance(sites, slice) else torch.from_numpy(sites)]
        )

    def at(self, values: Integers) -> Integers:
        found = np.empty_like(values)
        for some in blocks(len(self), self.levels):
            scaled, total = self.part(some)._scaled()
            before = np.take_along_axis(scaled, (values[some] - 1).clip(min=0), axis=1)
            np.floor_divide(before * (values[some] > 0), total, out=found[some])
        return found

    def finder(self) -> Finder:
        scaled, of_sites = self._scaled()
        flat, levels, totals = scaled.reshape(-1).data, self.levels, of_sites.tolist()

        def find(site: int, number: int) -> tuple[int, int, int]:
            first, (total,) = site * levels, totals[site]
            last = first + levels - 1
            at = bisect_right(flat, number * total + total - 1, first, last)
            return at - first, flat[at - 1] // total if at > first else 0, flat[at] // total

        return find

    def _scaled(self) -> tuple[Integers, Integers]:
        """F(v) · C(L) of v = 1 … L before F is rounded down, (n, L), and C(L), (n, 1).

        It is v · C(L) + C(v) · (2^P - L), less than 2^63: only what is asked for is divided.
        """
        table = _exponential(max(0, (self.levels - 1).bit_length() - _TABLE_BITS))
        below = self._logits.amax(dim=1, keepdim=True) - self._logits
        places = below.mul_(STEPS).clamp_(max=len(table) - 1).int()
        counts = table.index_select(0, places.flatten()).view(places.shape).cumsum_(dim=1)
        total = counts[:, -1:].clone()
        counts.mul_((1 << precision(self.levels)) - self.levels)
        counts.addcmul_(torch.arange(1, self.levels + 1, device="cpu"), total)
        return counts.numpy(), total.numpy()


_TABLE_BITS = 10  # of levels: their sum of 28 bits each, times 2^24, is less than 2^63


@lru_cache(maxsize=4)
def _exponential(less: int) -> Tensor:
    """`tables.exponential` without its last bits."""
    return torch.from_numpy(exponential() >> less)


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

    def at(self, values: Integers) -> Integers:
        found = np.empty_like(values)
        for some in blocks(len(self), self._weights.shape[1] * values.shape[1]):
            found[some] = self.part(some)._at(values[some])
        return found

    def _at(self, values: Integers) -> Integers:
        mass = self._below(values)
        mass *= self._weights[:, :, None]
        counts: Integers = mass.sum(axis=1) >> _MIXTURE_SHIFT
        total = self._weights.sum(axis=1, keepdims=True) << EXPONENTIAL_BITS >> _MIXTURE_SHIFT
        counts *= values > 0
        np.copyto(counts, total, where=values == self.levels)
        counts *= (1 << precision(self.levels)) - self.levels
        counts //= total
        counts += values
        return counts

    def finder(self) -> Finder:
        """By F at every so many values, and of all values where most of a site's numbers are."""
        side = 1 << ((self.levels - 1).bit_length() + 1) // 2
        ends = np.append(np.arange(0, self.levels, side), self.levels)
        count, beside = len(ends), min(_BLOCKS, len(ends) - 1)
        coarse, inside = self.at(np.broadcast_to(ends, (len(self), count))), np.arange(side + 1)
        most = (coarse[:, beside:] - coarse[:, :-beside]).argmax(axis=1) * side
        width, starts = beside * side + 1, most.tolist()
        fine = self.at((most[:, None] + np.arange(width)).clip(max=self.levels))
        all_coarse, all_fine = coarse.reshape(-1).data, fine.reshape(-1).data

        def find(site: int, number: int) -> tuple[int, int, int]:
            flat, first, start, last = all_fine, site * width, starts[site], width - 1
            if not flat[first] <= number < flat[first + last]:
                at = bisect_right(all_coarse, number, site * count, (site + 1) * count) - 1
                start, first, last = (at - site * count) * side, 0, side
                values = (start + inside).clip(max=self.levels)[None]
                flat = self.part(slice(site, site + 1))._at(values)[0].data
            at = bisect_right(flat, number, first, first + last) - 1
            return start + at - first, flat[at], flat[at + 1]

        return find

    def _below(self, values: Integers) -> Integers:
        """The mass of each component below values (n, m), in units of 2^-28: (n, K, m).

        That of values 0 and L is not what F needs.
        """
        u = _edges(self.levels)[values][:, None] - self._means[:, :, None]
        u >>= 8
        np.clip(u, -(8 << 20), 8 << 20, out=u)
        u *= self._inverse[:, :, None]
        u >>= SCALE_BITS + 2  # in units of 2^-18
        u += SHARPEST << 8
        np.clip(u, 0, (SHARPEST << 9) - 1, out=u)
        places = u >> 8
        mass: Integers
        mass, slope = (table.take(places, mode="clip") for table in _logistic())
        u &= 255
        slope *= u
        slope >>= 8
        mass += slope
        return mass

    def given(self, value: Integers) -> Integers:
        """The components' weights, given the values (n,) of a colour."""
        below = self._below(np.stack([value, value + 1], axis=1))
        low = below[:, :, 0] * (value > 0)[:, None]
        last = (value == self.levels - 1)[:, None]
        high = np.where(last, 1 << EXPONENTIAL_BITS, below[:, :, 1])
        joint = self._weights * (high - low)
        largest = joint.max(axis=1, keepdims=True)
        bits = np.frexp(largest.astype(np.float64))[1].astype(np.int64)
        few, many = (EXPONENTIAL_BITS - bits).clip(min=0), (bits - EXPONENTIAL_BITS).clip(min=0)
        shifted = joint << few >> many
        given: Integers = np.where(largest > 0, shifted, self._weights)
        return given


_BLOCKS = 3  # that are computed for every site: with fewer, more numbers lie elsewhere
_MIXTURE_SHIFT = 21  # ten components of 28 bits, times 28 and 24 bits, need less than 63 + 21


@lru_cache(maxsize=1)
def _logistic() -> tuple[Integers, Integers]:
    """`tables.logistic`, and its differences."""
    return logistic()[:-1], np.diff(logistic())


@lru_cache(maxsize=8)
def _edges(levels: int) -> Integers:
    """(2v - 1) / (L - 1) - 1 for v = 0 … L, rounded to units of 2^-28."""
    twice = 2 * np.arange(levels + 1) - 1
    return ((twice << 29) + levels - 1) // (2 * (levels - 1)) - (1 << 28)


def _logistics(distribution: LogisticMixture, x: Tensor) -> Iterator[_Mixture]:
    """Of one colour after another, given the earlier colours of x (B, c, H, W)."""
    channels, levels = distribution.channels, distribution.levels
    parts = distribution.parts.permute(1, 0, 3, 4, 2).flatten(1, 3)  # (parts, n, K)

    def integers(part: int) -> Integers:
        return (parts[part] * (1 << 16)).to(torch.int64).cpu().numpy()

    logits = integers(0)
    below = (logits.max(axis=1, keepdims=True) - logits) >> 6
    weights = exponential()[below.clip(max=len(exponential()) - 1)]
    tanh = (squashing(torch.device("cpu"))[: 2 * WIDEST + 1] * 4096).numpy().astype(np.int64)
    half = len(inverse_scales()) // 2
    predicted = np.zeros((1, channels, 1), dtype=np.int64)
    if distribution.predictions is not None:
        found = distribution.predictions.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (n, C, K)
        predicted = (found * (1 << 16)).to(torch.int64).cpu().numpy()
    rests: list[Integers] = []
    for colour in range(channels):
        means = integers(1 + colour) + predicted[:, colour] << 12
        first = 1 + 2 * channels + colour * (colour - 1) // 2
        for other, rest in enumerate(rests):
            places = (integers(first + other) >> 6).clip(-WIDEST, WIDEST) + WIDEST
            means = means + tanh[places] * rest
        scales = integers(1 + channels + colour) >> 6
        inverse = inverse_scales()[scales.clip(-half, half) + half]
        mixture = _Mixture(weights, means, inverse, levels)
        yield mixture
        if colour + 1 < channels:
            value = x[:, colour].flatten().cpu().numpy().astype(np.int64)
            weights = mixture.given(value)
            centred = (value * (1 << 18) + levels - 1) // (2 * (levels - 1)) - (1 << 16)
            rests.append(centred[:, None] - predicted[:, colour])


def every_cumulative(distribution: Distribution, x: Tensor) -> Iterator[Cumulative]:
    """`cumulative` of one colour after another."""
    if isinstance(distribution, LogisticMixture):
        yield from _logistics(distribution, x)
        return
    for channel in range(x.shape[1]):
        yield cumulative(distribution, x, channel)


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
        return next(islice(_logistics(distribution, x), channel, None))
    if isinstance(distribution, Categorical):
        of_colour = distribution.logits[:, channel if distribution.logits.shape[1] > 1 else 0]
        return _Softmax(of_colour.float().cpu().permute(0, 2, 3, 1).flatten(0, 2))
    if isinstance(distribution, Bernoulli):
        logit = distribution.logits[:, channel if distribution.logits.shape[1] > 1 else 0]
        logits = torch.stack([torch.zeros_like(logit), logit], dim=3)
        return _Softmax(logits.float().cpu().flatten(0, 2))
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
