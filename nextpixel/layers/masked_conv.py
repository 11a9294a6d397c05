"""Convolutions that see only the past.

`MaskedConv2d` is the masked convolution of both papers: the rows above, the pixels to the left, and
of the pixel itself the colours that its mask type allows (Pixel Recurrent Neural Networks, section
3.4). `FirstConv2d` is the first layer of the PixelRNN paper, in two parts.

All give the same numbers in a full pass, over a few rows, and at a front. Tensors are (B, F, rows,
W) over rows and (lanes, F / C) at a front, where F / C are the features of one colour: those of
earlier colours were computed before and never change. The maps of rows above have no colours:
(lanes, F).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache
from nextpixel.front.place import Front, colour_blocks
from nextpixel.front.ring import Ring
from nextpixel.layers.arithmetic import FEATURES, Arithmetic, convolved, rounded
from nextpixel.layers.constants import constant
from nextpixel.layers.layout import laid_out
from nextpixel.layers.masks import MaskType, colour_mask
from nextpixel.layers.vertical_conv import (
    UpperRows,
    VerticalConv2d,
    add_rows_above,
    below_past_rows,
    past_rows,
    unit_variance,
)
from nextpixel.settings.sizes import check_kernel_size, check_width
from nextpixel.tracing import transformed

__all__ = ["FirstConv2d", "MaskedConv2d"]


class MaskedConv2d(nn.Module):
    """A convolution over the pixels to the left, rows above, and what the mask allows of the pixel.

    With no rows above, the kernel is 1×k; k = 1 with mask "B" is the masked 1×1 convolution of
    residual blocks and heads. With k//2 rows above, it is the upper half of a k×k kernel, as in
    PixelCNN. The mask multiplies the weights in every pass, so optimisers, weight averages and
    checkpoints need not know about it.

    Args:
        inputs: input channels; with mask "B" a multiple of `channels`.
        outputs: output channels, a multiple of `channels`.
        kernel_size: k, odd.
        channels: number of colours C.
        mask_type: "A" for the first layer, whose input is the image; "B" for all others.
        rows_above: how many rows above the pixel the kernel reaches; for mask "B".
        bias: whether to add one learned number per output channel.
        output_blocks: whether the output channels come in blocks, one per colour, instead of
            interleaved.
        gates: whether the outputs are the gates o, f, i, g of an LSTM. Memory then lasts at first:
            the bias of f starts at one. The papers do not say how it starts.
        share: of the output's initial variance that is this layer's.
        initial_bias: numbers that the bias starts as; by default zeros.

    Attributes:
        places: to how many binary places another `arithmetic` rounds the result; None for gates,
            which round it themselves.
    """

    arithmetic: Arithmetic | None = None
    places: int | None
    channels_last = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        channels: int,
        mask_type: MaskType,
        rows_above: int = 0,
        bias: bool = True,
        output_blocks: bool = False,
        gates: bool = False,
        share: float = 1.0,
        initial_bias: Sequence[float] = (),
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size, at_least=3 if mask_type == "A" else 1)
        if mask_type == "A" and rows_above:
            raise ValueError("mask type A takes no rows above: use FirstConv2d, which adds them")
        check_width("outputs", outputs, channels)
        check_width("inputs", inputs, channels)
        self.gates, self.share, self.initial_bias = gates, share, initial_bias
        self.places = None if gates else FEATURES
        self.channels, self.mask_type, self.output_blocks = channels, mask_type, output_blocks
        self.reach, self.rows_above = kernel_size // 2, rows_above
        # In the pixel's own row: the pixels to the left, and the pixel itself if it may be read at
        # all.
        self.taps = self.reach + 1 if channels > 1 or mask_type == "B" else self.reach
        columns = kernel_size if rows_above else self.taps
        self.masked = channels > 1 or (rows_above > 0 and kernel_size > 1)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, rows_above + 1, columns))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random weights that keep the variance of their input; biases are zero."""
        unit_variance(self.weight, self._mask().flatten(1).sum(dim=1))
        if self.share != 1:
            self.weight.mul_(self.share**0.5)
        if self.bias is not None:
            self.bias.zero_()
            if self.gates:
                quarter = len(self.bias) // 4
                self.bias[quarter : 2 * quarter] = 1
            if self.initial_bias:
                self.bias.copy_(torch.tensor(self.initial_bias))

    def _mask(self) -> Tensor:
        weight = self.weight
        return _kernel_mask(
            tuple(weight.shape),
            tuple(weight.stride()),
            self.taps,
            self.reach,
            self.channels,
            self.mask_type,
            self.output_blocks,
            weight.device,
            weight.dtype,
        )

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        outputs, inputs, rows, taps = self.weight.shape
        biased = "" if self.bias is not None else ", bias=False"
        return (
            f"{inputs}, {outputs}, kernel_size=({rows}, {taps}), mask_type={self.mask_type!r},"
            f" channels={self.channels}{biased}"
        )

    def masked_weight(self) -> Tensor:
        """The weights that count, (outputs, inputs, rows, taps)."""
        return self.weight * self._mask() if self.masked else self.weight

    def forward(
        self, x: Tensor, cache: Cache | None = None, *, onto: Tensor | None = None
    ) -> Tensor:
        """Convolves x and adds the result onto `onto` if given.

        Over rows: (B, inputs, rows, W) to (B, outputs, rows, W). At a front, at colour c: the
        (lanes, inputs / C) features of colour c to the (lanes, outputs / C) outputs of colour c;
        mask type "A" takes the previous sub-pixel instead.
        """
        if cache is not None and cache.front is not None:
            return self._at_front(x, cache, cache.front, onto)
        if self.rows_above:
            x = below_past_rows(self, x, self.rows_above, cache)
        after = self.weight.shape[3] - 1 - self.reach
        beside = self.reach if self.reach == after else 0  # the convolution pads without a copy
        zeros = 0 if beside else max(0, after)
        if beside != self.reach:
            x = functional.pad(x, (self.reach, after))
        weight = laid_out(self.masked_weight(), self.channels_last)
        y = convolved(self.arithmetic, x, weight, self.bias, beside, zeros=zeros)
        if onto is not None:
            y = _added(y, onto) if self.arithmetic is None else y.add_(onto)
        return rounded(self.arithmetic, y, places=self.places)

    def _at_front(self, x: Tensor, cache: Cache, front: Front, onto: Tensor | None) -> Tensor:
        state = front.state(self, lambda: self._front_state(x, cache, front))
        channel, weight = front.channel, state.weights[front.channel]
        y = front.pixel(self, weight.shape[1])
        bias = None if state.biases is None else state.biases[channel]
        if state.upper is not None:
            bias = front.of_colour(front.once(self, lambda: self._above(front, state.upper)))
        if state.row is not None:
            if self.mask_type == "B":
                state.row.put(x, channel)
            elif channel:
                state.row.put(x, channel - 1)
            else:
                state.row.put(x, self.channels - 1, back=1)
            x = state.row.window(0, -self.reach, self.taps - 1 - self.reach)
        elif self.channels > 1:
            whole = front.whole(x)
            if whole is None:
                kept = front.pixel((self, "input"), x.shape[1])
                front.run(kept.copy_, x)
                whole = front.whole(kept)
                assert whole is not None
            x = whole.flatten(1)
        # Later colours are not read.
        x = x[:, : len(weight)]
        if bias is None or onto is None:
            start = bias if onto is None else onto
            if start is None:
                front.run(torch.mm, x, weight, out=y)
            else:
                front.run(torch.addmm, start, x, weight, out=y)
        else:
            front.run(torch.addmm, bias, x, weight, out=y)
            front.run(y.add_, onto)
        return rounded(self.arithmetic, y, front, self.places)

    def _above(self, front: Front, upper: "UpperRows | None") -> Tensor:
        """What the rows above add, and the bias: (lanes, C, outputs / C)."""
        assert upper is not None
        outputs = self.weight.shape[0]
        y = front.empty((self, "above"), outputs)
        front.run(y.copy_, upper.bias)
        add_rows_above(front, y, upper, self.reach)
        return y

    def _front_state(self, x: Tensor, cache: Cache, front: Front) -> "_FrontState":
        colours = self.channels
        outputs, inputs = self.weight.shape[:2]
        width = inputs // colours
        # Rows of each matrix in the order of a window: tap, colour, feature of the colour.
        weight, bias = front.folded(
            self, self.masked_weight().detach(), None if self.bias is None else self.bias.detach()
        )
        weight = torch.unflatten(weight, 1, (width, colours)).permute(3, 4, 2, 1, 0)
        own = weight[-1, : self.taps].reshape(self.taps * inputs, outputs)
        block, read = outputs // colours, self.reach * inputs
        weights, biases = [], []
        for c in range(colours):
            of = (
                slice(c * block, (c + 1) * block) if self.output_blocks else slice(c, None, colours)
            )
            end = read + (c + (self.mask_type == "B")) * width
            weights.append(front.matrix(own[:end, of]))
            if bias is not None and not self.rows_above:
                biases.append(bias[of].contiguous())
        row, upper = None, None
        if self.rows_above:
            past = past_rows(self, cache, inputs, self.rows_above, x)
            row = Ring(front, colours, width, before=self.reach, above=self.rows_above, past=past)
            order = colour_blocks(outputs, colours, weight.device)
            bias = weight.new_zeros(outputs) if bias is None else bias[order]
            rows = front.matrix(weight[:-1].flip(0).flatten(1, 3)[:, :, order])
            upper = UpperRows(row, [own, *rows], bias)
        elif self.reach:
            row = Ring(front, colours, width, before=self.reach)
        return _FrontState(weights, biases or None, row, upper)


def _added(y: Tensor, onto: Tensor) -> Tensor:
    """The sum of a new map and another; in place of the new map, if it has room for it."""
    fits = y.dtype == torch.promote_types(y.dtype, onto.dtype) and onto.shape == y.shape
    return y.add_(onto) if fits and not transformed() else onto + y


@constant
def _kernel_mask(
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    taps: int,
    reach: int,
    channels: int,
    mask_type: MaskType,
    output_blocks: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """One where a weight counts, zero elsewhere; laid out in memory as the weights are."""
    mask = torch.empty_strided(shape, stride, device=device, dtype=dtype).fill_(1)
    mask[:, :, -1, taps:] = 0
    if taps > reach:
        mask[:, :, -1, reach] = colour_mask(
            shape[0], shape[1], channels, mask_type, output_blocks=output_blocks, device=device
        ).to(dtype)
    return mask


@dataclass
class _FrontState:
    """A matrix and a bias for each colour, the map that windows are cut from, and rows above."""

    weights: list[Tensor]
    biases: list[Tensor] | None
    row: Ring | None
    upper: UpperRows | None


class FirstConv2d(nn.Module):
    """The k×k convolution of mask type "A" that reads the image.

    It sees rows above, pixels to the left, and earlier colours of the pixel.

    Args:
        inputs: channels of the image.
        outputs: output channels, a multiple of `channels`.
        kernel_size: k, odd, at least 3; the papers' is 7.
        channels: number of colours C that are predicted one after another.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int, *, channels: int) -> None:
        super().__init__()
        # The two parts are one kernel: together their initial weights keep the variance.
        left = inputs * (kernel_size // 2)
        above = left * kernel_size
        self.left = MaskedConv2d(
            inputs,
            outputs,
            kernel_size,
            channels=channels,
            mask_type="A",
            bias=False,
            share=left / (above + left),
        )
        self.above = VerticalConv2d(
            inputs, outputs, kernel_size, rows=kernel_size // 2, share=above / (above + left)
        )

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        outputs, inputs = self.left.weight.shape[:2]
        return f"{inputs}, {outputs}, kernel_size={2 * self.left.reach + 1}"

    def forward(self, x: Tensor, above: Callable[[], Tensor], cache: Cache | None = None) -> Tensor:
        """Convolves the rows of the image, or at a front the previous sub-pixel.

        `above` gives the same rows one row behind.
        """
        if cache is None or cache.front is None:
            return self.left(x, cache, onto=self.above(above(), cache))  # type: ignore[no-any-return]
        onto = cache.front.once(
            self, lambda: self.above(above(), cache, colours=self.left.channels)
        )
        return self.left(x, cache, onto=cache.front.of_colour(onto))  # type: ignore[no-any-return]
