"""Whether torch does more with an operation than to compute it.

Where it does, code that writes in place, reads values, keeps tensors for later or has derivatives
of its own must give way to plain operations.
"""

import torch
from torch.autograd import forward_ad

__all__ = ["transformed"]


def transformed() -> bool:
    """Whether the code that is running is compiled, exported, traced or transformed.

    Transforms are those of `torch.func`, such as `grad`, `vmap` and `jvp`, forward-mode
    derivatives, and modes that see every operation. The values of tensors cannot be read then.
    """
    # While the first holds, the compiler need not understand the others.
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )
