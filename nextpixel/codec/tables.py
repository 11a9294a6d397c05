"""The functions of the exact arithmetic, as tables over a finite set of arguments.

Every argument is an integer multiple of 2^-10, and beyond some range a function is constant. So it
is a table, rounded to integers. The value that comes nearest to a rounding boundary is 5 · 10^-6
steps away from it, more than a hundred times the rounding error of float64, so every machine makes
the same tables; a checksum is asserted all the same.
"""

import zlib
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "EXPONENTIAL_BITS",
    "SCALE_BITS",
    "SHARPEST",
    "STEPS",
    "WIDEST",
    "exponential",
    "inverse_scales",
    "logistic",
    "squashing",
]

Integers = NDArray[np.int64]

STEPS = 1 << 10
"""Arguments per unit."""
WIDEST = 12 * STEPS
"""The largest argument of tanh and σ within layers, in steps; beyond it they are constant."""
EXPONENTIAL_BITS = 28
"""exp(0) is 2^28 in `exponential`, and σ(∞) in `logistic`."""

SHARPEST = 16 * STEPS
"""The largest argument of σ in a mixture's distribution function, in steps."""
SCALE_BITS = 20
"""An inverse scale of one is 2^20 in `inverse_scales`."""

_LOG_SCALES = 7 * STEPS  # see layers.heads


@lru_cache(maxsize=4)
def squashing(device: torch.device) -> Tensor:
    """tanh, then σ, of -12 … 12, rounded to 2^-12: (2 · 24577,) in float64."""
    x = np.arange(-WIDEST, WIDEST + 1) / STEPS
    both = np.rint(np.concatenate([np.tanh(x), 1 / (1 + np.exp(-x))]) * 4096)
    _check(both, 0xF49880D6)
    return torch.from_numpy(both / 4096).to(device)


@lru_cache(maxsize=1)
def exponential() -> Integers:
    """2^28 · exp(-d / 1024), rounded, for d = 0 … until it is zero; int64."""
    d = np.arange(21 * STEPS)
    table = np.rint(np.exp(-d / STEPS) * (1 << EXPONENTIAL_BITS))
    table = table[: int(np.flatnonzero(table == 0)[0]) + 1]
    _check(table, 0x92AA89B8)
    integers: Integers = table.astype(np.int64)
    return integers


@lru_cache(maxsize=1)
def logistic() -> Integers:
    """2^28 · σ(k / 1024), rounded, for k = -16 · 1024 … 16 · 1024; int64."""
    x = np.arange(-SHARPEST, SHARPEST + 1) / STEPS
    table = np.rint((1 << EXPONENTIAL_BITS) / (1 + np.exp(-x)))
    _check(table, 0x394D79FE)
    integers: Integers = table.astype(np.int64)
    return integers


@lru_cache(maxsize=1)
def inverse_scales() -> Integers:
    """2^20 · exp(-k / 1024), rounded, for k = -7 · 1024 … 7 · 1024; int64."""
    table = np.rint(np.exp(-np.arange(-_LOG_SCALES, _LOG_SCALES + 1) / STEPS) * (1 << SCALE_BITS))
    _check(table, 0x535B4CE7)
    integers: Integers = table.astype(np.int64)
    return integers


def _check(table: Integers, checksum: int) -> None:
    if zlib.crc32(table.astype("<i8").tobytes()) != checksum:
        raise RuntimeError(
            "this machine computes exp or tanh in float64 with an error of more than 10^-15, so it"
            " cannot make the tables of the codec; report the machine"
        )
