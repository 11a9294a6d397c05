"""What a coder asks of the distributions of sites: which of its numbers each value has.

A value v of L has the numbers F(v) … F(v + 1) - 1 of the 2^P numbers of a coder, where

    F(v) = v + ⌊C(v) · (2^P - L) / C(L)⌋

and C is the distribution function, unnormalised: C(0) = 0, and C never falls. So every value has a
frequency of at least one, and what the model holds for impossible can be coded, too.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_LEVELS", "Cumulative", "Finder", "Integers", "blocks", "precision"]

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
