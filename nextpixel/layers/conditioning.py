"""What an image is conditioned on, and how that becomes a bias of every layer.

Conditional Image Generation with PixelCNN Decoders, section 2.3: y = tanh(W_f ∗ x + V_f h) ⊙ σ(W_g ∗ x + V_g h). With a
one-hot h this is a class-dependent bias in every layer, the same at every pixel.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

__all__ = ["ClassCondition", "Condition", "ConditionBias", "check_condition", "one_each", "parse_condition"]


@dataclass(frozen=True)
class ClassCondition:
    """A condition that is one of several classes, given as integers 0 … classes-1 of shape (B,)."""

    classes: int

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes (={self.classes}) must be at least 1")


Condition = ClassCondition


class ConditionBias(nn.Module):
    """V·h: one learned bias per class and feature map, small at first: training starts almost unconditionally."""

    def __init__(self, condition: Condition, features: int) -> None:
        super().__init__()
        self.bias = nn.Embedding(condition.classes, features)
        nn.init.normal_(self.bias.weight, std=0.05)

    def forward(self, condition: Int[Tensor, " B"]) -> Tensor:
        """(B,) classes to (B, features, 1, 1)."""
        return self.bias(condition)[:, :, None, None]  # type: ignore[no-any-return]


def parse_condition(condition: "Condition | dict[str, int] | None") -> Condition | None:
    """Reads a condition back from a model's `config()`, where it is a dict such as {"classes": 10}."""
    if isinstance(condition, dict):
        if set(condition) != {"classes"}:
            raise ValueError(f"condition (={condition}) must be of the form {{'classes': 10}}")
        return ClassCondition(condition["classes"])
    if condition is None or isinstance(condition, ClassCondition):
        return condition
    raise TypeError(f"condition (={condition!r}) must be None or a ClassCondition, such as ClassCondition(10)")


def check_condition(expected: Condition | None, received: Tensor | None, batch: int) -> None:
    """Raises unless `received` is a batch of what `expected` describes."""
    if expected is None:
        if received is not None:
            raise ValueError("this model is unconditional, but a condition was given; leave condition=None")
        return
    what = f"the classes 0 … {expected.classes - 1} as an integer tensor of shape ({batch},)"
    if received is None:
        raise ValueError(f"this model is conditioned on classes: give condition={what}")
    if received.shape != (batch,) or received.is_floating_point() or received.dtype == torch.bool:
        raise ValueError(f"condition has shape {tuple(received.shape)} and type {received.dtype}; expected {what}")


def one_each(expected: Condition | None, received: Tensor | None, batch: int, device: torch.device) -> Tensor | None:
    """A condition for each image of a batch, on the device: a single one is repeated; types and values are checked."""
    if received is not None:
        received = received.to(device)
        if received.ndim == 0 or (received.shape == (1,) and batch != 1):
            received = received.reshape(1).expand(batch)
    check_condition(expected, received, batch)
    if expected is not None and received is not None and batch:
        low, high = int(received.min()), int(received.max())
        if low < 0 or high >= expected.classes:
            wrong, last = low if low < 0 else high, expected.classes - 1
            raise ValueError(f"condition contains class {wrong}; this model knows the classes 0 … {last}")
    return received
