"""The memory layout of kernels, as a matter of a pass instead of the parameters.

A convolution whose kernel is channels last in memory computes maps that are channels last, which
makes passes faster on most hardware. Parameters of that layout are not contiguous: they cannot be
joined to a vector, sharded, or written to a file by other libraries. So parameters stay contiguous,
and a pass copies a kernel, which is small beside the maps.
"""

from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.tracing import transformed

__all__ = ["Conv2d", "ConvTranspose2d", "LaidOut", "lay_out", "laid_out"]


@runtime_checkable
class LaidOut(Protocol):
    """A module that computes with a kernel of one of the two layouts."""

    channels_last: bool


def laid_out(weight: Tensor, channels_last: bool) -> Tensor:
    """A kernel (outputs, inputs, rows, columns) in the layout that a pass computes with.

    Anything else is as it was. A compiler chooses layouts itself.
    """
    if not channels_last or weight.ndim != 4 or transformed():
        return weight
    # Through a matrix, so that the gradient comes as the parameter lies, which DDP asks for.
    kernel = weight.flatten(1).view(weight.shape)
    return kernel.to(memory_format=torch.channels_last)


def lay_out(model: nn.Module, *, channels_last: bool) -> None:
    """Decides the layout of all passes of a model."""
    for part in model.modules():
        if isinstance(part, LaidOut):
            part.channels_last = channels_last


class Conv2d(nn.Conv2d):
    """As torch's, but channels last whatever the layout of its parameters."""

    channels_last = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉)."""
        weight = laid_out(self.weight, self.channels_last)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class ConvTranspose2d(nn.ConvTranspose2d):
    """As torch's, but channels last whatever the layout of its parameters."""

    channels_last = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, inputs, H, W) to (B, outputs, H · stride, W · stride)."""
        weight = laid_out(self.weight, self.channels_last)
        padding = cast("tuple[int, ...]", self.padding)  # never a word, as it may be without stride
        return functional.conv_transpose2d(x, weight, self.bias, self.stride, padding)
