"""Whether torch does more with an operation than to compute it.

Where it does, code that writes in place, reads values, keeps tensors for later or has derivatives
of its own must give way to plain operations.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch
from torch.autograd import forward_ad

__all__ = ["remembered", "transformed"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def transformed() -> bool:
    """Whether the code that is running is compiled, exported, traced or transformed.

    Transforms are those of `torch.func`, such as `grad`, `vmap` and `jvp`, forward-mode
    derivatives, and modes that see every operation. The values of tensors cannot be read then.
    """
    # While the first holds, the compiler need not understand the others.
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )


def remembered(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Keeps the last 32 results of a function of sizes, but none of the tensors of a transform."""
    kept = lru_cache(maxsize=32)(function)

    @wraps(function)
    def call(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        compute = function if transformed() else kept
        return compute(*arguments, **keywords)

    return call
