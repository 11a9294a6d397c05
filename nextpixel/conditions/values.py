"""The values of a batch for what a model is conditioned on: one tensor for each condition.

Inside the library they are always a tuple, `()` for none. Public functions accept None, a tensor or
a tuple of tensors, and `as_values` makes the tuple. `broadcast` does so as well, gives every image
its value, and refuses what the model does not take.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from nextpixel.conditions.kinds import Condition
from nextpixel.errors import UsageError

__all__ = [
    "Values",
    "ValuesLike",
    "as_values",
    "broadcast",
    "check_shapes",
    "forget",
    "index",
    "map_values",
    "random_values",
    "unknown",
]

Values: TypeAlias = tuple[Tensor, ...]
"""The values of a batch: a tensor for each condition, in the order of the conditions."""

ValuesLike: TypeAlias = Tensor | Values | None
"""What public functions accept: None, the tensor of one condition, or a tuple."""


def as_values(values: ValuesLike) -> Values:
    """The tuple of what a caller gives: None, a tensor, or a tuple of tensors."""
    if values is None:
        return ()
    return values if isinstance(values, tuple) else (values,)


def map_values(function: Callable[[Tensor], Tensor], values: Values) -> Values:
    """Applies a function to the tensor of every condition."""
    return tuple(function(value) for value in values)


def index(values: Values, images: Any) -> Values:
    """The values of some images of a batch: a slice, indices, or the number of one image."""
    return tuple(value[images] for value in values)


def unknown(conditions: tuple[Condition, ...], batch: int, size: tuple[int, int]) -> Values:
    """Values that say "unknown", for a batch of images of a size (H, W)."""
    return tuple(part.unknown(batch, size) for part in conditions)


def random_values(
    conditions: tuple[Condition, ...],
    batch: int,
    size: tuple[int, int],
    generator: torch.Generator | None = None,
) -> Values:
    """Random values for a batch: uniform integers or standard normal reals."""
    return tuple(part.random(batch, size, generator) for part in conditions)


def forget(values: Values, forgotten: Tensor) -> Values:
    """Makes values unknown where `forgotten`, (B,) or (B, conditions), is true."""
    columns = forgotten if forgotten.ndim == 2 else forgotten[:, None].expand(-1, len(values))
    return tuple(
        torch.where(
            column.view(-1, *[1] * (value.ndim - 1)),
            torch.nan if value.is_floating_point() else -1,
            value,
        )
        for column, value in zip(columns.unbind(1), map_values(_signed, values), strict=True)
    )


def check_shapes(
    conditions: tuple[Condition, ...], values: Values, batch: int, size: tuple[int, int]
) -> None:
    """Raises unless values are what a model takes for a batch of images of a size (H, W).

    It looks at shapes and types, and reads no values.

    Raises:
        TypeError: a value is not a tensor.
        UsageError: the number of values, a shape or a type does not fit.
    """
    if not conditions and values:
        raise UsageError("this model is unconditional; leave ‹condition=None›")
    wanted = ", then ".join(part.wanted(batch, size) for part in conditions)
    if not values and conditions:
        kinds = " and ".join(part.plural for part in conditions)
        raise UsageError(f"this model is conditioned on {kinds}: give ‹condition›{wanted}")
    form = "a tensor" if len(conditions) == 1 else "a tuple of tensors"
    for value in values:
        if not isinstance(value, Tensor):
            raise TypeError(f"condition has type {type(value).__name__}; give {form}: {wanted}")
    if len(values) != len(conditions):
        raise UsageError(
            f"condition has {len(values)} tensors, but this model takes {len(conditions)}: {wanted}"
        )
    for part, value in zip(conditions, values, strict=True):
        part.check(value, batch, size)


def broadcast(
    conditions: tuple[Condition, ...],
    values: ValuesLike,
    batch: int,
    size: tuple[int, int],
    device: torch.device,
) -> Values:
    """A value of each condition for each image of a batch, on the device.

    A single value is repeated. Raises as `check_shapes`, and if a value is out of range.
    """
    given = as_values(values)
    if len(given) == len(conditions) and all(isinstance(value, Tensor) for value in given):
        given = tuple(
            _repeated(value.to(device), len(part.shape(1, size)), batch)
            for part, value in zip(conditions, given, strict=True)
        )
    check_shapes(conditions, given, batch, size)
    given = map_values(_signed, given)
    if batch:
        for part, value in zip(conditions, given, strict=True):
            part.check_range(value)
    return given


def _signed(value: Tensor) -> Tensor:
    """Integers of any type as int64, which can hold -1 for unknown values; reals as they are."""
    return value if value.is_floating_point() else value.long()


def _repeated(value: Tensor, axes: int, batch: int) -> Tensor:
    if value.ndim == axes - 1:
        value = value[None]
    single = value.ndim > 0 and len(value) == 1 != batch
    return value.expand(batch, *value.shape[1:]) if single else value
