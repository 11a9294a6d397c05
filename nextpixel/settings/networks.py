"""The keywords of the four networks: names, types, defaults, explanations and checks, each once.

A settings object is checked and complete: a keyword that was None holds the value that the model
uses instead. This module does not load torch, so that the command line can offer the same options.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import update_wrapper
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

from nextpixel.arguments import plain
from nextpixel.errors import UsageError
from nextpixel.orders import ORDERS, colour_order_counts
from nextpixel.settings.sizes import LARGEST_WIDTH, check_between, check_kernel_size, check_width

if TYPE_CHECKING:
    from nextpixel.conditions.notation import ConditionLike
else:
    ConditionLike = Any

__all__ = [
    "DiagonalBiLSTMSettings",
    "GatedPixelCNNSettings",
    "HeadName",
    "NetworkSettings",
    "PixelCNNSettings",
    "RowLSTMSettings",
    "keywords_of",
]

HeadName = Literal["softmax", "bernoulli", "logistic"]

# Far above anything in use; see `settings.sizes`.
LARGEST = {
    "channels": 1 << 10,
    "levels": 1 << 20,
    "features": LARGEST_WIDTH,
    "layers": 10_000,
    "head_features": 2 * LARGEST_WIDTH,
    "position_waves": 256,
    "value_features": LARGEST_WIDTH,
}

_FIRST_KERNEL = 7


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(ABC):
    """The keywords that all four networks share."""

    channels: int = 1
    """Number of colours C of an image."""
    levels: int = 256
    """Number of values of a sub-pixel."""
    condition: ConditionLike = None
    """None, `ClassCondition(n)`, `VectorCondition(n)`, `MapCondition(…)`, or a tuple of them."""
    head_features: int | None = None
    """Width of the head, a multiple of the colours; by default that of the layers' output."""
    skip: bool = False
    """Connect every layer to the head, through a 1×1 convolution."""
    dropout: float = 0.0
    """Share of every layer's features that is dropped in training."""
    head: HeadName | None = None
    """Output distribution: bernoulli for two levels, softmax, or logistic, a discretised mixture of
    ten logistics over all colours of a pixel. By default bernoulli or softmax, except that
    ``nextpixel train`` takes logistic with linear_prediction for photographs in colour, and for
    more than 1,024 ordinal levels."""
    linear_prediction: bool = False
    """Make the means of the head "logistic" offsets from linear predictions of each colour, one for
    each component: learned convolutions of the pixels that the first layer sees. For photographs;
    not in the papers."""
    position_waves: int = 0
    """Tell every layer where in the image a pixel is, by this many cosine waves along each side.
    Useful for aligned images, such as digits or faces; by default 0, as published."""
    value_features: int | None = None
    """For categorical values, such as codes: how many learned features each value becomes. By
    default values are ordinal, such as brightness."""
    orders: int = 1
    """Number of orders of the pixels that one model learns: 1, raster order; 2, also from the
    opposite corner; 4, from all corners; 8, the same also column by column. Likelihoods are those
    of their mixture, and completions are drawn in the order that suits the mask."""
    colour_orders: int = 1
    """Number of orders of the C colours of a pixel, for each of `orders`: 1; C, in which each
    colour comes first once; or, for up to four colours, all C!. A completion with a known colour is
    then drawn in an order that begins with it."""

    @property
    @abstractmethod
    def maps(self) -> int:
        """Number of feature maps that the layers hand to the head."""

    @property
    @abstractmethod
    def maps_at_once(self) -> int:
        """Number of feature maps that a pass over rows holds at once, at most, before the head."""

    @property
    def colours(self) -> int:
        """How many colours of a pixel are predicted one after another; widths are multiples of it.

        All colours, or 1 for the head "logistic", which gives their joint distribution.
        """
        return 1 if self.head == "logistic" else self.channels


@dataclass(frozen=True, kw_only=True)
class GatedPixelCNNSettings(NetworkSettings):
    """The keywords of `GatedPixelCNN`."""

    features: int = 48
    """Feature maps F of each stack, a multiple of the colours. The paper's ImageNet model: 384."""
    layers: int = 8
    """Number of gated layers, the first included. The paper's ImageNet model: 20."""
    kernel_size: int = 5
    """Side k of the kernels, odd, at least 3. The paper's ImageNet model: 5."""
    first_kernel_size: int | None = None
    """Side of the first layer's kernels, odd, at least 3; by default `kernel_size`."""

    def __post_init__(self) -> None:
        first = self.kernel_size if self.first_kernel_size is None else self.first_kernel_size
        _complete(self, kernel_size=self.kernel_size, first_kernel_size=first)

    @property
    def maps(self) -> int:
        """F."""
        return self.features

    @property
    def maps_at_once(self) -> int:
        """2F of every layer for the horizontal stack, and those of the layer in progress."""
        return 2 * self.features * self.layers + 10 * self.features


@dataclass(frozen=True, kw_only=True)
class PixelCNNSettings(NetworkSettings):
    """The keywords of `PixelCNN`."""

    features: int = 32
    """h, the maps of a layer, a multiple of the colours; between layers there are 2h."""
    layers: int = 7
    """Number of residual blocks."""
    kernel_size: int = 3
    """Side k of the layers' kernels, odd, at least 3."""
    first_kernel_size: int = _FIRST_KERNEL
    """Side of the first convolution, odd, at least 3; the paper's is 7."""
    residual: bool = True
    """Add the input of every block to its output."""
    gated: bool = False
    """End each layer's k×k convolution in a gate instead of a ReLU."""

    def __post_init__(self) -> None:
        _complete(self, kernel_size=self.kernel_size, first_kernel_size=self.first_kernel_size)

    @property
    def maps(self) -> int:
        """2h."""
        return 2 * self.features

    @property
    def maps_at_once(self) -> int:
        """Of the convolution h, 2h of the block's input and of the skips, and copies."""
        return 10 * self.features


@dataclass(frozen=True, kw_only=True)
class RowLSTMSettings(NetworkSettings):
    """The keywords of `RowLSTM`."""

    features: int = 32
    """h, the states of a layer, a multiple of the colours; between layers there are 2h maps."""
    layers: int = 7
    """Number of residual blocks."""
    kernel_size: int = 3
    """Side k of the convolutions along rows, odd, at least 3."""
    first_kernel_size: int = _FIRST_KERNEL
    """Side of the first convolution, odd, at least 3; the paper's is 7."""
    residual: bool = True
    """Add the input of every block to its output."""

    def __post_init__(self) -> None:
        _complete(self, kernel_size=self.kernel_size, first_kernel_size=self.first_kernel_size)

    @property
    def maps(self) -> int:
        """2h."""
        return 2 * self.features

    @property
    def maps_at_once(self) -> int:
        """Four gates and two states of h, and their copies in the order of the scan."""
        return 18 * self.features


@dataclass(frozen=True, kw_only=True)
class DiagonalBiLSTMSettings(NetworkSettings):
    """The keywords of `DiagonalBiLSTM`."""

    features: int = 32
    """h, the states of a layer, a multiple of the colours; between layers there are 2h maps."""
    layers: int = 7
    """Number of residual blocks."""
    kernel_size: int | None = None
    """Side of the first convolution, odd, at least 3, by default 7. It is the only kernel that can
    vary: those of the recurrence are 1 and 2."""
    first_kernel_size: int | None = None
    """Another name for `kernel_size`."""
    residual: bool = True
    """Add the input of every block to its output."""
    complete_context: bool = False
    """Close the gap that leaves the last pixel of the row above unseen; see
    `layers.diagonal_lstm`."""

    def __post_init__(self) -> None:
        given = {self.kernel_size, self.first_kernel_size} - {None}
        if len(given) > 1:
            raise UsageError(
                f"‹kernel_size› ({self.kernel_size}) and ‹first_kernel_size›"
                f" ({self.first_kernel_size}) both name the first convolution of a DiagonalBiLSTM;"
                " give one of them"
            )
        side = given.pop() if given else _FIRST_KERNEL
        _complete(self, kernel_size=side, first_kernel_size=side)

    @property
    def maps(self) -> int:
        """2h."""
        return 2 * self.features

    @property
    def maps_at_once(self) -> int:
        """Four gates and two states of h in two directions, and copies in the order of the scan."""
        return 30 * self.features


def _complete(settings: Any, **sides: int | None) -> None:
    """Checks all keywords and puts a value in the place of each None."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        _check_type(field.name, value, field.default)
        object.__setattr__(settings, field.name, plain(value))
    for name in ("channels", "levels", "features", "layers", "position_waves", "value_features"):
        value = getattr(settings, name)
        if value is not None:
            least = {"levels": 2, "position_waves": 0}.get(name, 1)
            check_between(name, value, least, LARGEST[name])
    if settings.orders not in (1, 2, 4, len(ORDERS)):
        raise UsageError(f"‹orders› must be 1, 2, 4 or 8, not {settings.orders}")
    if settings.colour_orders not in (counts := colour_order_counts(settings.channels)):
        several = f"{settings.channels} channel{'s' * (settings.channels > 1)}"
        raise UsageError(
            f"‹colour_orders› must be {' or '.join(map(str, counts))} for images of {several}, not"
            f" {settings.colour_orders}"
        )
    if not 0 <= settings.dropout < 1:
        raise UsageError(f"‹dropout› must be at least 0 and less than 1, not {settings.dropout}")
    head = settings.head
    if head is None:
        head = "bernoulli" if settings.levels == 2 else "softmax"
    if head not in get_args(HeadName):
        raise UsageError(
            f"‹head› must be one of {', '.join(map(repr, get_args(HeadName)))}, not {head!r}"
        )
    if head == "bernoulli" and settings.levels != 2:
        raise UsageError(
            f"‹head› 'bernoulli' is for two values, but ‹levels› is {settings.levels}; use"
            " 'softmax'"
        )
    if settings.linear_prediction and head != "logistic":
        raise UsageError(
            f"‹linear_prediction› is for the means of ‹head› 'logistic', but ‹head› is {head!r};"
            " use 'logistic', or leave it out"
        )
    if settings.linear_prediction and settings.value_features is not None:
        raise UsageError(
            "‹linear_prediction› is for ordinal values, but ‹value_features› makes them"
            " categories; leave one of them out"
        )
    if head == "softmax":
        check_between("levels", settings.levels, 2, LARGEST["levels"] // settings.channels)
    width = settings.maps if settings.head_features is None else settings.head_features
    kernels = {name: int(side) for name, side in sides.items() if side is not None}
    resolved = {"head": head, "head_features": width, **kernels}
    for name, value in resolved.items():
        object.__setattr__(settings, name, value)
    check_width("features", settings.features, settings.colours)
    check_between("head_features", width, 1, LARGEST["head_features"])
    check_width("head_features", width, settings.colours)
    for name, side in kernels.items():
        check_kernel_size(name, side, at_least=3)


def _check_type(name: str, value: object, default: object) -> None:
    """Raises UsageError unless a value is of its keyword's type: files may hold anything."""
    if name == "condition" or (value is None and default is None):
        return
    if isinstance(default, bool):
        right, words = isinstance(value, bool), "True or False"
    elif name == "head":
        right, words = isinstance(value, str), "the name of a distribution"
    elif isinstance(default, float):
        right, words = isinstance(value, Real) and not isinstance(value, bool), "a number"
    else:
        right = isinstance(value, Integral) and not isinstance(value, bool)
        words = "a whole number"
    if not right:
        raise UsageError(f"‹{name}› must be {words}, not {value!r}")


P = ParamSpec("P")
Settings = TypeVar("Settings")
Model = TypeVar("Model")


def keywords_of(
    settings: Callable[P, Settings],
) -> Callable[[Callable[[Model, Settings], None]], Callable[Concatenate[Model, P], None]]:
    """Lets a constructor that takes a settings object take that object's keywords instead.

    The signature is that of the settings, for people and for type checkers alike.
    """

    def decorate(
        construct: Callable[[Model, Settings], None],
    ) -> Callable[Concatenate[Model, P], None]:
        def constructor(self: Model, /, *args: P.args, **keywords: P.kwargs) -> None:
            name, known = type(self).__name__, inspect.signature(settings).parameters
            if args:
                raise TypeError(f"{name} takes its options by name, such as levels=256")
            if unknown := sorted(keywords.keys() - known):
                raise TypeError(
                    f"{name} has no option {unknown[0]!r}; its options are {', '.join(known)}"
                )
            construct(self, settings(*args, **keywords))

        own, keywords = inspect.signature(construct), inspect.signature(settings)
        parameters = [next(iter(own.parameters.values())), *keywords.parameters.values()]
        update_wrapper(constructor, construct)
        constructor.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        annotations = {name: keyword.annotation for name, keyword in keywords.parameters.items()}
        constructor.__annotations__ = annotations | {"return": None}
        constructor.__doc__ = f"Takes the fields of `{settings.__name__}` as keywords."
        return constructor

    return decorate
