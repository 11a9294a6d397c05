"""The convolution over rows that are wholly past, and what kernels with rows above share.

The vertical stack's convolution (Conditional Image Generation with PixelCNN Decoders, section 2.2)
and the upper part of the first layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache
from nextpixel.front.place import Front, colour_blocks
from nextpixel.front.ring import PastRows, Ring
from nextpixel.layers.arithmetic import FEATURES, Arithmetic, convolved, rounded
from nextpixel.layers.layout import laid_out
from nextpixel.settings.sizes import check_kernel_size

__all__ = [
    "UpperRows",
    "VerticalConv2d",
    "add_rows_above",
    "below_past_rows",
    "past_rows",
    "unit_variance",
]


class VerticalConv2d(nn.Module):
    """A convolution over rows that are wholly past: a kernel's upper rows, all of its columns.

    Output row r reads input rows r - rows + 1 … r. The caller feeds rows that are one row behind,
    so that r is strictly later than everything read; colours need no mask.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel_size: k, odd: the kernel's columns.
        rows: the kernel's rows; None takes k//2 + 1, half of a square kernel with its centre.
        share: of the output's initial variance that is this layer's.

    Attributes:
        places: to how many binary places another `arithmetic` rounds the result.
    """

    arithmetic: Arithmetic | None = None
    places = FEATURES
    channels_last = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        rows: int | None = None,
        *,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size)
        self.columns_beside = kernel_size // 2
        self.rows_above = kernel_size // 2 if rows is None else rows - 1
        self.share = share
        self.weight = nn.Parameter(torch.empty(outputs, inputs, self.rows_above + 1, kernel_size))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random weights that keep the variance of their input; biases are zero."""
        unit_variance(self.weight, self.weight[0].numel())
        if self.share != 1:
            self.weight.mul_(self.share**0.5)
        self.bias.zero_()

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        outputs, inputs, *kernel = self.weight.shape
        return f"{inputs}, {outputs}, kernel_size={tuple(kernel)}"

    def forward(
        self,
        x: Tensor,
        cache: Cache | None = None,
        *,
        colours: int = 1,
        into: Tensor | None = None,
    ) -> Tensor:
        """(B, inputs, rows, W) to (B, outputs, rows, W).

        At a front: the (lanes, inputs) of a column k//2 ahead of the (lanes, outputs), which come
        colour by colour, and are written `into` a tensor if one is given.
        """
        if cache is not None and cache.front is not None:
            return self._at_front(x, cache, cache.front, colours, into)
        if self.rows_above:  # otherwise padding would copy the map, and there is no past to keep
            x = below_past_rows(self, x, self.rows_above, cache)
        weight = laid_out(self.weight, self.channels_last)
        y = convolved(self.arithmetic, x, weight, self.bias, self.columns_beside)
        return rounded(self.arithmetic, y, places=self.places)

    def _at_front(
        self, x: Tensor, cache: Cache, front: Front, colours: int, into: Tensor | None
    ) -> Tensor:
        state = front.state(self, lambda: self._front_state(cache, front, colours))
        y = front.empty(self, self.weight.shape[0]) if into is None else into
        if state.ring is not None:
            state.ring.put(x)
            front.ahead -= self.columns_beside
            x = state.ring.window(0, -self.columns_beside, self.columns_beside)
        front.run(torch.addmm, state.bias, x, state.weights[0], out=y)
        add_rows_above(front, y, state, self.columns_beside)
        return rounded(self.arithmetic, y, front, self.places)

    def _front_state(self, cache: Cache, front: Front, colours: int) -> "UpperRows":
        order = colour_blocks(len(self.bias), colours, self.bias.device)
        weight, bias = front.folded(self, self.weight.detach(), self.bias.detach())
        weight, bias = weight[order].permute(2, 3, 1, 0).flatten(1, 2), bias[order]
        weights = list(front.matrix(weight.flip(0)))
        if not self.rows_above and not self.columns_beside:
            return UpperRows(None, weights, bias)
        past = None
        if self.rows_above:
            past = past_rows(self, cache, self.weight.shape[1], self.rows_above, self.weight)
        beside = self.columns_beside
        ring = Ring(
            front,
            1,
            self.weight.shape[1],
            before=beside,
            after=beside,
            above=self.rows_above,
            past=past,
        )
        return UpperRows(ring, weights, bias)


@dataclass
class UpperRows:
    """What a kernel that reads rows above keeps at fronts: the map, and a matrix for each row.

    The first matrix is of the pixel's own row, the next of the row above, and so on.
    """

    ring: Ring | None
    weights: list[Tensor]
    bias: Tensor


def add_rows_above(front: Front, y: Tensor, state: UpperRows, beside: int) -> None:
    """Adds to y (lanes, outputs) the products with the rows above."""
    for above, weight in enumerate(state.weights[1:], 1):
        assert state.ring is not None
        window = state.ring.window(above, -beside, beside)
        front.run(torch.addmm, y, window, weight, out=y)


def unit_variance(weight: Tensor, fan_in: int | Tensor) -> None:
    """Draws weights (outputs, inputs, …) that keep the variance of their input, in place.

    Biases start at zero, so that ReLUs are open or closed by what they see, not by chance.

    Args:
        weight: to overwrite.
        fan_in: how many weights count, of all outputs or of each, (outputs,).
    """
    counts = torch.as_tensor(fan_in, dtype=weight.dtype, device=weight.device).clamp(min=1)
    weight.uniform_(-1, 1).mul_((3 / counts).sqrt().view(-1, *[1] * (weight.ndim - 1)))


def past_rows(layer: nn.Module, cache: Cache, inputs: int, count: int, like: Tensor) -> PastRows:
    """The last rows of a layer's input; zeros if there were none."""
    blank = like.new_zeros(()).expand(cache.batch, inputs, 1, cache.width)
    return cache.state((layer, "rows"), lambda: PastRows(blank, count))


def below_past_rows(layer: nn.Module, x: Tensor, count: int, cache: Cache | None) -> Tensor:
    """Puts `count` rows above x: those of the pass before, or zeros."""
    if cache is None:
        return functional.pad(x, (0, 0, count, 0))
    return past_rows(layer, cache, x.shape[1], count, x).append(x)
