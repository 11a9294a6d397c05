"""Integer frequencies of mixtures of logistics, by integer arithmetic alone.

C adds up weighted sigmoids, at the boundaries between values. All numbers are integers; some are
held as float64, whose operations here are exact and take less time.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.codec.cumulative import Cumulative, Finder, Integers, blocks, precision
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
from nextpixel.layers.heads import LogisticMixture

__all__ = ["mixtures"]

Numbers = NDArray[np.float64]


class _Mixture(Cumulative):
    """Of a mixture of K logistics.

    Args:
        weights: of the components, (K, n), at most 2^28.
        means: (K, n), in units of 2^-20 of the centred image, multiples of 2^-8 units.
        inverse: inverse scales (K, n), multiples of 2^-22: a mean divided by its scale is in units
            of 2^-18.
        levels: L.
    """

    def __init__(self, weights: Integers, means: Numbers, inverse: Numbers, levels: int) -> None:
        self._weights, self._means, self._inverse = weights, means, inverse
        self.levels = levels

    def __len__(self) -> int:
        return len(self._weights[0])

    def part(self, sites: slice | Integers) -> "_Mixture":
        weights, means, inverse = self._weights, self._means, self._inverse
        return _Mixture(weights[:, sites], means[:, sites], inverse[:, sites], self.levels)

    def at(self, values: Integers) -> Integers:
        found = np.empty_like(values)
        for some in blocks(len(self), len(self._weights) * values.shape[1]):
            found[some] = self.part(some)._at(values[some].T).T
        return found

    def _at(self, values: Integers) -> Integers:
        """F of values (m, n)."""
        counts: Integers = np.einsum("mkn,kn->mn", self._below(values), self._weights)
        counts >>= _MIXTURE_SHIFT
        total = self._weights.sum(axis=0) << EXPONENTIAL_BITS >> _MIXTURE_SHIFT
        counts *= values > 0
        np.copyto(counts, total, where=values == self.levels)
        counts *= (1 << precision(self.levels)) - self.levels
        counts //= total
        counts += values
        return counts

    def finder(self) -> Finder:
        """By F of the values around the mean, of as many as most of a site's mass takes."""
        centre, breadth = self._most()
        sites = np.arange(len(self))
        starts, firsts, widths = (np.empty_like(sites) for _ in range(3))
        found: list[Integers] = []
        broad = breadth > _WIDTHS[0]
        for width, some in zip(_WIDTHS, (sites[~broad], sites[broad]), strict=True):
            width = min(width, self.levels)
            start = np.rint(centre[some] - (width - 1) / 2).clip(0, self.levels - width)
            starts[some], widths[some] = start, width
            firsts[some] = sum(map(len, found)) + np.arange(len(some)) * (width + 1)
            inside = starts[some][:, None] + np.arange(width + 1)
            found.append(self.part(some).at(inside).ravel())
        flat = np.concatenate(found).data
        spans = list(zip(starts.tolist(), firsts.tolist(), widths.tolist(), strict=True))

        def find(site: int, number: int) -> tuple[int, int, int]:
            start, first, width = spans[site]
            if not flat[first] <= number < flat[first + width]:
                return self._search(site, number)
            at = bisect_right(flat, number, first, first + width) - 1
            return start + at - first, flat[at], flat[at + 1]

        return find

    def _most(self) -> tuple[Numbers, Numbers]:
        """Around which value most of each site's mass is, and in how many; about."""
        means, weights = self._means.clip(-(1 << 20), 1 << 20), self._weights
        total = weights.sum(axis=0)
        mean = np.einsum("kn,kn->n", weights, means) / total
        apart = np.abs(means - mean) + (1 << 18) / self._inverse
        deviation = np.einsum("kn,kn->n", weights, apart) / total
        value = (self.levels - 1) / (2 << 20)
        return (mean + (1 << 20)) * value, deviation * (_DEVIATIONS * value)

    def _search(self, site: int, number: int) -> tuple[int, int, int]:
        """Finds a value among all."""
        one = self.part(slice(site, site + 1))
        values, low, high = np.arange(self.levels + 1), 0, self.levels
        while True:
            step = -(-(high - low) // _VALUES_AT_ONCE)
            few = np.append(values[low:high:step], high)
            flat = one._at(few[:, None])[:, 0].data
            at = bisect_right(flat, number) - 1
            low, high = few[at : at + 2].tolist()
            if step == 1:
                return low, flat[at], flat[at + 1]

    def _below(self, values: Integers) -> NDArray[np.int32]:
        """The mass of each component below values (m, n), in units of 2^-28: (m, K, n).

        That of values 0 and L is not what F needs.
        """
        u = _edges(self.levels)[values][:, None] - self._means
        np.floor(u, out=u)
        np.clip(u, -(8 << 20), 8 << 20, out=u)
        u *= self._inverse
        u += SHARPEST << 8
        np.clip(u, 0, (SHARPEST << 9) - 1, out=u)
        rest = u.astype(np.int32)
        places = rest >> 8
        mass: NDArray[np.int32]
        mass, slope = (table.take(places, mode="clip") for table in _logistic())
        rest &= 255
        slope *= rest
        slope >>= 8
        mass += slope
        return mass

    def given(self, value: Integers) -> Integers:
        """The components' weights, given the values (n,) of a colour."""
        low, high = self._below(np.stack([value, value + 1])).astype(np.int64)
        low *= value > 0
        high[:, value == self.levels - 1] = 1 << EXPONENTIAL_BITS
        joint: Integers = self._weights * (high - low)
        largest = joint.max(axis=0)
        bits = np.frexp(largest.astype(np.float64))[1].astype(np.int64)
        joint <<= (EXPONENTIAL_BITS - bits).clip(min=0)
        joint >>= (bits - EXPONENTIAL_BITS).clip(min=0)
        return np.where(largest > 0, joint, self._weights)


_MIXTURE_SHIFT = 21  # ten components of 28 bits, times 28 and 24 bits, need less than 63 + 21
_WIDTHS = 16, 64  # of what is computed for every site: in more values more numbers are found
_DEVIATIONS = 4
_VALUES_AT_ONCE = 256


@lru_cache(maxsize=1)
def _logistic() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`tables.logistic`, and its differences."""
    return logistic()[:-1].astype(np.int32), np.diff(logistic()).astype(np.int32)


@lru_cache(maxsize=8)
def _edges(levels: int) -> Numbers:
    """(2v - 1) / (L - 1) - 1 for v = 0 … L, rounded to units of 2^-28, in units of 2^-20."""
    twice = 2 * np.arange(levels + 1) - 1
    in_units = ((twice << 29) + levels - 1) // (2 * (levels - 1)) - (1 << 28)
    edges: Numbers = in_units / 256
    return edges


def mixtures(
    distribution: LogisticMixture, values: Integers, sites: Integers | None = None
) -> Iterator[Cumulative]:
    """Of one colour after another: see `frequencies.every_cumulative`."""
    channels, levels = distribution.channels, distribution.levels

    def numbers(parts: Tensor) -> Numbers:
        of_sites = parts.permute(1, 2, 0, 3, 4).flatten(2).cpu()
        if sites is not None:
            of_sites = of_sites.index_select(2, torch.from_numpy(sites))
        found: Numbers = of_sites.contiguous().numpy()
        return found

    parts = numbers(distribution.parts)  # (parts, K, n)
    logits, means, others = parts[0], parts[1 : 1 + channels], parts[1 + channels :]
    predicted = np.zeros((channels, 1, 1))
    if distribution.predictions is not None:
        predicted = numbers(distribution.predictions)
    means = (means + predicted) * (1 << 20)
    places = np.floor((logits.max(axis=0) - logits) * STEPS).astype(np.int64)
    weights = exponential().take(places, mode="clip")
    places = np.floor(others * STEPS).astype(np.int64)
    scales = inverse_scales()
    inverse = scales.take(places[:channels] + len(scales) // 2, mode="clip") / (4 << SCALE_BITS)
    tanh = squashing(torch.device("cpu"))[: 2 * WIDEST + 1].numpy()
    coefficients = iter(tanh.take(places[channels:] + WIDEST, mode="clip"))
    rests: list[Numbers] = []
    for colour, mean in enumerate(means):
        for rest in rests:
            mean += next(coefficients) * rest
        mixture = _Mixture(weights, mean, inverse[colour], levels)
        yield mixture
        if colour + 1 < channels:
            value = values[colour]
            weights = mixture.given(value)
            centred = (value * (1 << 18) + levels - 1) // (2 * (levels - 1)) - (1 << 16)
            rests.append(centred * 16.0 - predicted[colour] * (1 << 20))
