"""What can be trained, whether or not it is a distribution of images.

The training loop, evaluation, checkpoints and commands use only this interface. A model states what
its figure is: an exact likelihood, a bound on one, or an error of reconstruction.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nextpixel.conditions.kinds import Condition
from nextpixel.conditions.values import Values, ValuesLike
from nextpixel.errors import UsageError
from nextpixel.layers.inputs import CategoricalInput
from nextpixel.orders import Order

__all__ = ["EXACT", "LOWER_BOUND", "Figure", "Objective", "Trainable", "check_filled", "config_of"]


@runtime_checkable
class Objective(Protocol):
    """What training maximises: the mean of `log_prob` over all sub-pixels."""

    def log_prob(self, x: Tensor) -> Tensor:
        """One number for each sub-pixel of x (B, C, H, W), in nats, same shape."""
        ...


@dataclass(frozen=True)
class Figure:
    """What evaluation of a model measures.

    Attributes:
        kind: an exact likelihood, a bound on one, or no likelihood at all.
        name: of the figure, as in `nextpixel evaluate --json`.
        unit: of its value.
        value: from the mean of `-log_prob` in bits per sub-pixel to the figure.
    """

    kind: Literal["likelihood", "bound", "error"]
    name: str
    unit: str
    value: Callable[[float], float]


def _unchanged(bits_per_dim: float) -> float:
    return bits_per_dim


EXACT = Figure("likelihood", "bits_per_dim", "bits/dim", _unchanged)
LOWER_BOUND = Figure("bound", "bits_per_dim", "bits/dim", _unchanged)


class Trainable(nn.Module, ABC):
    """A model of images (B, C, H, W) of integers 0 … levels-1 that can be trained and saved.

    Attributes:
        channels: number of colours C.
        levels: number of values of a sub-pixel.
        conditions: what the model is conditioned on; () for nothing.
        size: (H, W) of the images that the model takes; None for any.
        orders: in which it goes through images, the first one being raster order.
    """

    channels: int
    levels: int
    conditions: tuple[Condition, ...]
    size: tuple[int, int] | None = None
    orders: tuple[Order, ...] = (Order(),)
    recompute: bool = False
    """Whether training computes each layer's maps again in the backward pass, to save memory."""

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        size = f", size={self.size}" if self.size else ""
        given = "".join(f", condition: {part.describe()}" for part in self.conditions)
        return f"channels={self.channels}, levels={self.levels}{size}{given}"

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The keywords that rebuild the model, as JSON: `registry.build(name, model.config())`."""

    @abstractmethod
    def forward(self, x: Tensor, condition: ValuesLike = None) -> Objective:
        """What training maximises for images x, in one pass."""

    @property
    @abstractmethod
    def figure(self) -> Figure:
        """What evaluation of this model measures."""

    @property
    @abstractmethod
    def given_by_data(self) -> tuple[Condition, ...]:
        """The conditions whose values a data set must give to train and evaluate the model."""

    @abstractmethod
    def infer(self, x: Tensor, values: Values) -> Values:
        """The values of all conditions for images x, from those that the data gives."""

    @property
    def categorical_values(self) -> bool:
        """Whether pixel values are categorical, so that distributions have no derivatives."""
        return any(isinstance(part, CategoricalInput) for part in self.modules())

    def reset_parameters(self) -> None:
        """Draws all parameters anew, such as those of a model that was made on the meta device."""
        for part in reversed(list(self.modules())):  # parts before what they are part of
            reset = getattr(part, "reset_parameters", None)
            if callable(reset) and not isinstance(part, Trainable):
                reset()

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU if there are none."""
        return next(self.parameters(), torch.empty(0)).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters; torch's default if there are none."""
        return next(self.parameters(), torch.empty(0)).dtype


def config_of(model: Trainable) -> dict[str, Any]:
    """The configuration of a model inside another one: its own, with the name of its class."""
    return {"model": type(model).__name__} | model.config()


def check_filled(model: nn.Module) -> None:
    """Raises UsageError if weights are on the meta device, where they have no values."""
    if any(weight.is_meta for weight in model.parameters()):
        raise UsageError(
            "the model's weights are on the meta device and have no values; call"
            " model.to_empty(device=…) and model.load_state_dict(…)"
        )
