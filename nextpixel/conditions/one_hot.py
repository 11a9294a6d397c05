"""Integers as vectors with a single one."""

import torch
from torch import Tensor

__all__ = ["as_one_hot"]


def as_one_hot(value: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Integers 0 … count-1 to (…, count); others become zeros.

    `torch.nn.functional.one_hot` reads the values to check them, which neither `torch.func` nor a
    compiled program can do. Here `Condition.outside` tells which are wrong.

    Example:
        >>> as_one_hot(torch.tensor([2, 0]), 3, torch.float32).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return (value.long()[..., None] == torch.arange(count, device=value.device)).to(dtype)
