"""Checks of the options that say what stored values mean: a range, an offset, a table, a mark."""

import math
from numbers import Integral, Real
from typing import Any

from nextpixel.errors import UsageError

__all__ = ["checked_missing", "checked_range", "checked_values", "shown_number", "shown_values"]

_MOST_VALUES = 4096
_LARGEST = 2**53
"""Beyond it floats do not hold every integer."""


def checked_range(limits: Any) -> tuple[float, float] | None:
    """The lowest and highest value, or None."""
    if limits is None:
        return None
    pair = list(limits) if isinstance(limits, list | tuple) else []
    if len(pair) != 2 or not all(map(_is_number, pair)) or not pair[0] < pair[1]:
        raise UsageError(
            f"‹range={limits!r:.60}› must be two finite numbers, the lowest value and the highest,"
            " such as 0 1"
        )
    return float(pair[0]), float(pair[1])


def checked_values(values: Any) -> Any:
    """A table of different numbers, "auto", or None."""
    if values is None or (isinstance(values, str) and values == "auto"):
        return values
    table = list(values) if isinstance(values, list | tuple) else []
    if not (2 <= len(table) <= _MOST_VALUES and all(map(_is_number, table))):
        raise UsageError(
            f"‹values={values!r:.60}› must be 'auto', or 2 to {_MOST_VALUES} finite numbers, such"
            " as -1,1"
        )
    numbers = tuple(map(_plain, table))
    if len(set(numbers)) != len(numbers):
        twice = next(number for k, number in enumerate(numbers) if number in numbers[:k])
        raise UsageError(f"‹values› contains {shown_number(twice)} twice; name each value once")
    return numbers


def checked_missing(value: Any) -> Any:
    """A number, "nan", or None; not a number is "nan", which equals itself."""
    if value is None or (isinstance(value, str) and value == "nan"):
        return value
    if isinstance(value, Real) and not isinstance(value, bool) and math.isnan(value):
        return "nan"
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(f"‹missing={value!r:.60}› must be a finite number, or nan")
    return _plain(value)


def shown_number(value: int | float) -> str:
    """A number as an option holds it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def shown_values(values: tuple[int | float, ...]) -> str:
    """A table as an option holds it, its first entries if it is long."""
    shown = ",".join(map(shown_number, values[:32]))
    return shown if len(values) <= 32 else f"{shown} … ({len(values)} values)"


def _is_number(value: Any) -> bool:
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and math.isfinite(value) and abs(value) <= _LARGEST


def _plain(value: Any) -> int | float:
    """An integer of Python if it is one that floats hold, else a float."""
    whole = isinstance(value, Integral) or float(value).is_integer()
    return int(value) if whole and abs(value) <= _LARGEST else float(value)
