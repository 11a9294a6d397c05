"""Whether torch does more with an operation than to compute it.

Where it does, code that writes in place, reads values or has derivatives of its own must give way
to plain operations.
"""

import torch
from torch.autograd import forward_ad

__all__ = ["transformed"]


def transformed() -> bool:
    """Whether the code that is running is compiled, exported, traced or transformed.

    Transforms are those of `torch.func`, such as `grad`, `vmap` and `jvp`, and forward-mode
    derivatives. The values of tensors cannot be read then.
    """
    # The first holds where the others are unknown to the compiler.
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )
