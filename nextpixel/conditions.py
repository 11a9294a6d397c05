"""What an image is conditioned on: classes, vectors, maps, or a tuple of them; and their values for
a batch.

A model has one condition, a tuple of several, or none; its values for a batch are a tensor, or a
tuple of tensors. A condition of an image may be **unknown**: class -1, a vector of NaN, a map of -1
(of NaN if it holds reals). It adds nothing then, and a model that met unknown conditions in
training (`TrainConfig.condition_dropout`) is the unconditional one as well. How conditions enter a
network is in `nextpixel.layers.conditioning`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "ClassCondition",
    "Condition",
    "ConditionLike",
    "Conditions",
    "MapCondition",
    "Values",
    "VectorCondition",
    "check_condition",
    "condition_config",
    "condition_shape",
    "each",
    "forget",
    "known",
    "one_each",
    "parse_condition",
    "parts_of",
    "random_condition",
    "taken",
    "tuple_of",
    "unknown",
]

Values: TypeAlias = Tensor | tuple[Tensor, ...]
"""Conditions of a batch: a tensor, or for several conditions a tuple of tensors."""


def _check_least(owner: object, **least: int) -> None:
    for name, minimum in least.items():
        value = getattr(owner, name)
        if value is not None and value < minimum:
            raise ValueError(f"{name} (={value}) must be at least {minimum}")


@dataclass(frozen=True)
class ClassCondition:
    """One of several classes, given as integers 0 … classes-1 of shape (B,); -1 is unknown."""

    classes: int

    def __post_init__(self) -> None:
        _check_least(self, classes=1)


@dataclass(frozen=True)
class VectorCondition:
    """A vector of reals, given as floats (B, size): attributes, an embedding, a code; NaN is
    unknown.

    Its scale does not matter if the model is trained by `training.train`, which standardises by
    what it is trained on.
    """

    size: int

    def __post_init__(self) -> None:
        _check_least(self, size=1)


@dataclass(frozen=True)
class MapCondition:
    """An image of the same or of lower resolution, given as (B, maps, ⌈H / scale⌉, ⌈W / scale⌉).

    Attributes:
        maps: its channels.
        scale: how many times fewer rows and columns it has than the image that is conditioned on
            it.
        levels: its values are integers 0 … levels-1; None if they are reals.
        features: channels of the full-size map that the layers see.
        categorical: whether its integers are names, such as those of segments, and not amounts.
    """

    maps: int
    scale: int = 2
    levels: int | None = 256
    features: int = 32
    categorical: bool = False

    def __post_init__(self) -> None:
        _check_least(self, maps=1, scale=1, levels=2, features=1)
        if self.categorical and self.levels is None:
            raise ValueError(
                "categorical=True is for integers, but levels is None; say how many there are"
            )


Condition: TypeAlias = ClassCondition | VectorCondition | MapCondition
Conditions: TypeAlias = Condition | tuple[Condition, ...]
ConditionLike: TypeAlias = Conditions | Sequence[Any] | Mapping[str, Any] | None
"""Conditions, or what `condition_config` made of them."""


def parts_of(condition: Conditions | None) -> tuple[Condition, ...]:
    """The conditions one by one."""
    return () if condition is None else condition if isinstance(condition, tuple) else (condition,)


def tuple_of(values: Values | None) -> tuple[Tensor, ...]:
    """The tensors one by one."""
    return () if values is None else values if isinstance(values, tuple) else (values,)


def each(function: Callable[[Tensor], Tensor], values: Values | None) -> Values | None:
    """Applies a function to the tensor, or to every tensor of the tuple."""
    if values is None:
        return None
    return (
        function(values)
        if isinstance(values, Tensor)
        else tuple(function(value) for value in values)
    )


def taken(values: Values | None, index: Any) -> Values | None:
    """The conditions of some images of a batch: a slice, or indices."""
    return each(lambda value: value[index], values)


def parse_condition(condition: ConditionLike) -> Conditions | None:
    """Reads conditions, or what `condition_config` made of them: dicts such as {"classes": 10}."""
    if condition is None or isinstance(condition, Condition):
        return condition
    if isinstance(condition, Mapping):
        for kind in (ClassCondition, VectorCondition, MapCondition):
            if condition.keys() == kind.__dataclass_fields__.keys():
                return kind(**condition)
        raise ValueError(f"condition (={condition}) must be of the form {{'classes': 10}}")
    if isinstance(condition, Sequence) and not isinstance(condition, str):
        parts = tuple(parse_condition(part) for part in condition)
        if len(parts) > 1 and all(isinstance(part, Condition) for part in parts):
            return parts  # type: ignore[return-value]
        if len(parts) < 2:
            raise ValueError(
                f"condition (={condition!r}) must be None, one condition, or a tuple of several"
            )
    raise TypeError(
        f"condition (={condition!r}) must be None, a condition such as ClassCondition(10) or"
        " VectorCondition(64), or a tuple of them"
    )


def condition_config(condition: Conditions | None) -> Any:
    """Conditions as plain JSON values, for `parse_condition`."""
    if isinstance(condition, tuple):
        return [asdict(part) for part in condition]
    return None if condition is None else asdict(condition)


def condition_shape(condition: Condition, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of one condition of a batch of images of a size (H, W)."""
    if isinstance(condition, ClassCondition):
        return (batch,)
    if isinstance(condition, VectorCondition):
        return batch, condition.size
    return (batch, condition.maps, *(-(-side // condition.scale) for side in size))


def unknown(condition: Conditions | None, batch: int, size: tuple[int, int]) -> Values | None:
    """Conditions of a batch of which nothing is known."""

    def nothing(part: Condition) -> Tensor:
        shape = condition_shape(part, batch, size)
        reals = isinstance(part, VectorCondition) or (
            isinstance(part, MapCondition) and part.levels is None
        )
        return torch.full(shape, torch.nan) if reals else torch.full(shape, -1)

    values = tuple(nothing(part) for part in parts_of(condition))
    return values if isinstance(condition, tuple) else values[0] if values else None


def known(condition: Condition, value: Tensor) -> Tensor:
    """For which images of a batch a condition is known, (B,)."""
    reals = value.is_floating_point() and not (
        isinstance(condition, MapCondition) and condition.levels is not None
    )
    there = value.isfinite() if reals else value >= 0
    return there.flatten(1).all(dim=1) if there.ndim > 1 else there


def forget(values: Values, forgotten: Tensor) -> Values:
    """Makes conditions unknown where `forgotten` (B,), or (B, conditions), is true."""
    tensors = tuple(_signed(value) for value in tuple_of(values))
    columns = forgotten if forgotten.ndim == 2 else forgotten[:, None].expand(-1, len(tensors))
    result = tuple(
        torch.where(
            column.view(-1, *[1] * (tensor.ndim - 1)),
            torch.nan if tensor.is_floating_point() else -1,
            tensor,
        )
        for tensor, column in zip(tensors, columns.unbind(1), strict=True)
    )
    return result if isinstance(values, tuple) else result[0]


def _signed(value: Tensor) -> Tensor:
    """Integers of any type as int64, which holds the -1 of what is unknown; reals as they are."""
    return value if value.is_floating_point() else value.long()


def random_condition(
    condition: Conditions | None,
    batch: int,
    size: tuple[int, int],
    generator: torch.Generator | None = None,
) -> Values | None:
    """Conditions of a batch drawn at random: uniform integers, normal reals."""

    def drawn(part: Condition) -> Tensor:
        shape = condition_shape(part, batch, size)
        levels = part.classes if isinstance(part, ClassCondition) else getattr(part, "levels", None)
        if levels is None:
            return torch.randn(shape, generator=generator)
        return torch.randint(levels, shape, generator=generator)

    values = tuple(drawn(part) for part in parts_of(condition))
    return values if isinstance(condition, tuple) else values[0] if values else None


def _wanted(condition: Condition, shape: tuple[int, ...]) -> str:
    """What the values of a condition must be, in words."""
    if isinstance(condition, ClassCondition):
        return f"the classes 0 … {condition.classes - 1} as an integer tensor of shape {shape}"
    if isinstance(condition, VectorCondition):
        return f"vectors as a float tensor of shape {shape}"
    if condition.levels is None:
        return f"maps as a float tensor of shape {shape}"
    return f"images of values 0 … {condition.levels - 1} as an integer tensor of shape {shape}"


def check_condition(
    expected: Conditions | None, received: Values | None, batch: int, size: tuple[int, int]
) -> None:
    """Raises unless `received` is what `expected` describes, for a batch of images of a size (H,
    W).

    Raises:
        TypeError: it is no tensor, nor a tuple of tensors.
        ValueError: it has another number of parts, another shape or another type.
    """
    if expected is None:
        if received is not None:
            raise ValueError(
                "this model is unconditional, but a condition was given; leave condition=None"
            )
        return
    parts = parts_of(expected)
    wanted = [_wanted(part, condition_shape(part, batch, size)) for part in parts]
    if received is None:
        kinds = {ClassCondition: "classes", VectorCondition: "vectors", MapCondition: "maps"}
        what = " and ".join(kinds[type(part)] for part in parts)
        raise ValueError(
            f"this model is conditioned on {what}: give condition={', then '.join(wanted)}"
        )
    several = isinstance(expected, tuple)
    for value in tuple_of(received):
        if not isinstance(value, Tensor):
            form = "a tuple of tensors" if several else "a tensor"
            raise TypeError(
                f"condition has type {type(value).__name__}; give {form}: {', then '.join(wanted)}"
            )
    if isinstance(received, tuple) != several or (
        isinstance(received, tuple) and len(received) != len(parts)
    ):
        given = f"a tuple of {len(received)}" if isinstance(received, tuple) else "one tensor"
        needed = f"a tuple of {len(parts)}" if several else "one tensor"
        raise ValueError(
            f"condition is {given}; this model takes {needed}: {', then '.join(wanted)}"
        )
    for part, value, text in zip(parts, tuple_of(received), wanted, strict=True):
        # Where derivatives are taken, images are reals.
        may_be_real = not isinstance(part, ClassCondition)
        wrong = value.dtype == torch.bool or (value.is_floating_point() and not may_be_real)
        wrong = wrong or (isinstance(part, VectorCondition) and not value.is_floating_point())
        if value.shape != condition_shape(part, batch, size) or wrong:
            raise ValueError(
                f"condition has shape {tuple(value.shape)} and type {value.dtype}; expected {text}"
            )


def one_each(
    expected: Conditions | None,
    received: Values | None,
    batch: int,
    size: tuple[int, int],
    device: torch.device,
) -> Values | None:
    """A condition for each image of a batch, on the device: a single one is repeated; types and
    values are checked.
    """
    parts = parts_of(expected)
    if received is not None:
        tensors = tuple_of(received)
        if len(tensors) == len(parts) and all(isinstance(value, Tensor) for value in tensors):
            tensors = tuple(
                _repeated(value.to(device), len(condition_shape(part, 1, size)), batch)
                for part, value in zip(parts, tensors, strict=True)
            )
        received = tensors if isinstance(received, tuple) else tensors[0]
    check_condition(expected, received, batch, size)
    received = each(_signed, received)
    if received is not None and batch:
        for part, value in zip(parts, tuple_of(received), strict=True):
            _check_values(part, value)
    return received


def _repeated(value: Tensor, axes: int, batch: int) -> Tensor:
    if value.ndim == axes - 1:
        value = value[None]
    return (
        value.expand(batch, *value.shape[1:]) if value.ndim and len(value) == 1 != batch else value
    )


def _check_values(condition: Condition, value: Tensor) -> None:
    there = known(condition, value)
    if isinstance(condition, VectorCondition) or (
        isinstance(condition, MapCondition) and condition.levels is None
    ):
        if not value.is_floating_point():
            raise TypeError(f"condition has type {value.dtype}; give floats")
        wrong = ~(there | value.isnan().flatten(1).all(dim=1))
        if wrong.any():
            raise ValueError(
                f"condition {int(wrong.nonzero()[0])} holds values that are not finite; give"
                " numbers, or NaN throughout where nothing is known"
            )
        return
    if value.is_floating_point():
        raise TypeError(f"condition has type {value.dtype}; give integers")
    kind, kinds, count = "class", "classes", getattr(condition, "classes", 0)
    if isinstance(condition, MapCondition):
        kind, kinds, count = "value", "values", condition.levels or 0
    nothing = value == -1
    nothing = nothing.flatten(1).all(dim=1) if nothing.ndim > 1 else nothing
    partly = value[~(there | nothing)]
    outside = int(partly.min()) if partly.numel() else int(value.max())
    if outside < 0 and partly.numel() or outside >= count:
        raise ValueError(
            f"condition contains {kind} {outside}; this model knows the {kinds} 0 … {count - 1},"
            " and -1 for unknown"
        )
