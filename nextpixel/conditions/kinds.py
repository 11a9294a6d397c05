"""What an image is conditioned on: classes, vectors, maps, or several of them.

Inside the library the conditions of a model are always a tuple, `()` for none. Constructors accept
None, one condition or several, and `nextpixel.conditions.notation.as_conditions` makes the tuple.

The value of an image may be **unknown**: class -1, a vector of NaN, a map of -1 (of NaN if it holds
reals). It then adds nothing, and a model that has seen unknown values in training
(`TrainConfig.condition_dropout`) is the unconditional model as well. Values for a batch are in
`nextpixel.conditions.values`; `nextpixel.layers.conditioning` brings them into a network.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, TypeVar, final

import torch
from torch import Tensor

from nextpixel.arguments import whole_number
from nextpixel.conditions.one_hot import as_one_hot
from nextpixel.errors import UsageError
from nextpixel.tracing import transformed

__all__ = [
    "ClassCondition",
    "Condition",
    "MapCondition",
    "VectorCondition",
    "check_mirrored",
    "of_kind",
]


@dataclass(frozen=True)
class Condition(ABC):
    """What every kind of condition says about its values.

    Attributes:
        noun, plural: what one value is called, and several.
        annotation: which annotation of a data set holds the values: labels, vectors or maps.
        per_pixel: whether a value differs from pixel to pixel, and so is an image itself.
    """

    noun: ClassVar[str]
    plural: ClassVar[str]
    annotation: ClassVar[str]
    per_pixel: ClassVar[bool]

    @property
    @abstractmethod
    def count(self) -> int | None:
        """How many integers a value may be: 0 … count-1; None for reals."""

    @property
    @abstractmethod
    def width(self) -> int:
        """How many features the layers of a network see."""

    @property
    @abstractmethod
    def standardised(self) -> int:
        """How many of `features_of` are standardised by the training set: the first ones."""

    @abstractmethod
    def shape(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        """The shape of the values of a batch of images of a size (H, W)."""

    @abstractmethod
    def features_of(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """Values as a network reads them, (B, features) or (B, features, h, w)."""

    @abstractmethod
    def seen_from(self, scale: int) -> "Condition":
        """The same condition of an image that has `scale` times as many rows and columns."""

    @abstractmethod
    def describe(self) -> str:
        """The condition in words, such as "10 classes"."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `as_conditions` reads them."""
        # Earlier versions do not know ‹context›, and runs that lack it must look the same.
        return {name: value for name, value in asdict(self).items() if name != "context" or value}

    def accepts(self, offered: "Condition | None", size: tuple[int, int]) -> bool:
        """Whether values of `offered`, for images of a size, are values of this condition too."""
        if offered is None or type(offered) is not type(self) or offered.count != self.count:
            return False
        return offered.shape(1, size) == self.shape(1, size)

    def unknown(self, batch: int, size: tuple[int, int]) -> Tensor:
        """Values that say "unknown"."""
        value, dtype = (torch.nan, torch.float32) if self.count is None else (-1, torch.int64)
        return torch.full(self.shape(batch, size), value, dtype=dtype, device="cpu")

    def random(
        self, batch: int, size: tuple[int, int], generator: torch.Generator | None = None
    ) -> Tensor:
        """Random values: uniform integers or standard normal reals."""
        shape = self.shape(batch, size)
        if self.count is None:
            return torch.randn(shape, generator=generator, dtype=torch.float32)
        return torch.randint(self.count, shape, generator=generator)

    def known(self, value: Tensor) -> Tensor:
        """Of which images the value is known, (B,)."""
        there = value.isfinite() if self.count is None else value >= 0
        return there.flatten(1).all(dim=1) if there.ndim > 1 else there

    def wanted(self, batch: int, size: tuple[int, int]) -> str:
        """In words what values for a batch must be."""
        shape = self.shape(batch, size)
        if self.count is None:
            return f"{self.plural} as a float tensor of shape {shape}"
        integers = f"0 … {self.count - 1} as an integer tensor of shape {shape}"
        return f"{'images of values' if self.per_pixel else f'the {self.plural}'} {integers}"

    def check(self, value: Tensor, batch: int, size: tuple[int, int]) -> None:
        """Raises UsageError if the shape or type of values does not fit; reads no values."""
        real = value.is_floating_point()
        # Where derivatives are taken, images are reals, and so is a small image as a condition.
        derived = self.per_pixel and (value.requires_grad or transformed())
        wrong = not real if self.count is None else real and not derived
        if wrong or value.dtype == torch.bool or value.shape != self.shape(batch, size):
            raise UsageError(
                f"condition has shape {tuple(value.shape)} and type {value.dtype}; expected"
                f" {self.wanted(batch, size)}"
            )

    def outside(self, value: Tensor) -> Tensor:
        """Of which images the value, of the right shape, is neither in range nor unknown, (B,)."""
        entries = value.reshape(len(value), -1)
        if self.count is None:
            return ~(entries.isfinite().all(dim=1) | entries.isnan().all(dim=1))
        entries = entries.long()
        known = (entries >= 0) & (entries < self.count)
        return ~(known.all(dim=1) | (entries == -1).all(dim=1))

    def check_range(self, value: Tensor) -> None:
        """Raises UsageError if values of the right shape are out of range."""
        wrong = self.outside(value)
        if not wrong.any():
            return
        if self.count is None:
            where = f"the {self.noun} of image {int(wrong.nonzero()[0])} is not finite"
            raise UsageError(f"{where}; give numbers, or NaN throughout if it is unknown")
        entries = value[wrong].long()
        one = int(entries[(entries < 0) | (entries >= self.count)][0])
        noun, plural = ("value", "values") if self.per_pixel else (self.noun, self.plural)
        raise UsageError(
            f"condition contains {noun} {one}; this model knows the {plural} 0 … {self.count - 1},"
            f" and -1{' throughout' * self.per_pixel} for unknown"
        )


_MOST = 1 << 20  # More than any data set has; a wrong number must not exhaust the memory.


@final
@dataclass(frozen=True)
class ClassCondition(Condition):
    """One of several classes, given as integers 0 … classes-1 of shape (B,); -1 is unknown."""

    classes: int

    noun, plural, annotation, per_pixel, standardised = "class", "classes", "labels", False, 0

    def __post_init__(self) -> None:
        _check_integer(self, "classes", 1, _MOST)

    @property
    def count(self) -> int:
        """The number of classes."""
        return self.classes

    @property
    def width(self) -> int:
        """One feature for each class."""
        return self.classes

    def shape(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:  # noqa: ARG002
        """One class for each image."""
        return (batch,)

    def features_of(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """One-hot."""
        return as_one_hot(value, self.classes, dtype)

    def seen_from(self, scale: int) -> "ClassCondition":  # noqa: ARG002
        """The class of an image does not depend on its size."""
        return self

    def describe(self) -> str:
        """Such as "10 classes"."""
        return f"{self.classes} class{'es' * (self.classes > 1)}"


@final
@dataclass(frozen=True)
class VectorCondition(Condition):
    """A vector of reals, given as floats (B, size): attributes, an embedding, a code.

    NaN is unknown. The scale of the vectors does not matter if `training.train` trains the model:
    it standardises them by the training set.
    """

    size: int

    noun, plural, annotation, per_pixel, count = "vector", "vectors", "vectors", False, None

    def __post_init__(self) -> None:
        _check_integer(self, "size", 1, _MOST)

    @property
    def width(self) -> int:
        """The entries, and a one that says that they are known."""
        return self.size + 1

    @property
    def standardised(self) -> int:
        """The entries."""
        return self.size

    def shape(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:  # noqa: ARG002
        """One vector for each image."""
        return batch, self.size

    def features_of(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """The entries, and a one that says that they are known."""
        entries = value.to(dtype)
        return torch.cat([entries, torch.ones_like(entries[:, :1])], dim=1)

    def seen_from(self, scale: int) -> "VectorCondition":  # noqa: ARG002
        """The vector of an image does not depend on its size."""
        return self

    def describe(self) -> str:
        """Such as "vectors of 64"."""
        return f"vectors of {self.size}"


@final
@dataclass(frozen=True)
class MapCondition(Condition):
    """An image of the same or of lower resolution: (B, maps, ⌈H / scale⌉, ⌈W / scale⌉).

    Attributes:
        maps: its channels.
        scale: how many times fewer rows and columns it has than the image conditioned on it.
        levels: its values are the integers 0 … levels-1; None for reals.
        features: channels of the full-size map that the layers see.
        categorical: whether its integers are categories, such as those of segments.
        context: whether every pixel sees the whole map, not only the part of it near its own place.
    """

    maps: int
    scale: int = 2
    levels: int | None = 256
    features: int = 32
    categorical: bool = False
    context: bool = False

    noun, plural, annotation, per_pixel, standardised = "map", "maps", "maps", True, 0

    def __post_init__(self) -> None:
        for name, most in (("maps", 1 << 12), ("scale", 1 << 8), ("features", 1 << 14)):
            _check_integer(self, name, 1, most)
        if self.levels is not None:
            _check_integer(self, "levels", 2, _MOST)
        for name in ("categorical", "context"):
            if not isinstance(given := getattr(self, name), bool):
                raise UsageError(f"‹{name}› must be True or False, not {given!r}")
        if self.categorical and self.levels is None:
            raise UsageError("categories are integers, but levels is None; say how many there are")

    @property
    def count(self) -> int | None:
        """The number of levels."""
        return self.levels

    @property
    def width(self) -> int:
        """The features of the full-size map."""
        return self.features

    def shape(self, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
        """As many rows and columns as an image subsampled by `scale` has."""
        return (batch, self.maps, *(-(-side // self.scale) for side in size))

    def features_of(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        """Reals as they are, ordinal integers on [-1, 1], categories one-hot."""
        if self.levels is None:
            return value.to(dtype).nan_to_num()
        if self.categorical:
            return as_one_hot(value, self.levels, dtype).movedim(-1, 2).flatten(1, 2)
        return value.to(dtype) * (2 / (self.levels - 1)) - 1

    def seen_from(self, scale: int) -> "MapCondition":
        """From a larger image, the map is of lower resolution."""
        return replace(self, scale=self.scale * scale)

    def describe(self) -> str:
        """Such as "maps of 3 channels, 256 levels, scale 2"."""
        values = "reals" if self.levels is None else f"{self.levels} levels"
        return f"maps of {self.maps} channel{'s' * (self.maps > 1)}, {values}, scale {self.scale}"


Kind = TypeVar("Kind", bound=Condition)


def of_kind(conditions: tuple[Condition, ...], kind: type[Kind]) -> dict[int, Kind]:
    """The conditions of one kind, by their place in the tuple."""
    return {place: part for place, part in enumerate(conditions) if isinstance(part, kind)}


def check_mirrored(conditions: tuple[Condition, ...], width: int, option: str) -> None:
    """Raises UsageError if a map does not lie on the mirror image of an image of that width.

    Args:
        conditions: of the model.
        width: of the images.
        option: the option that mirrors them, to name in the sentence.
    """
    for part in of_kind(conditions, MapCondition).values():
        if width % part.scale:
            raise UsageError(
                f"images of width {width} cannot be mirrored together with a map of scale"
                f" {part.scale}; crop them to a multiple of it, or leave out ‹{option}›"
            )


def _check_integer(condition: Condition, name: str, least: int, most: int) -> None:
    number = whole_number(name, getattr(condition, name), least, most)
    object.__setattr__(condition, name, number)  # an integer of numpy is not JSON
