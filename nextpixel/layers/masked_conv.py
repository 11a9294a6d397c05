"""Convolutions that see only the past.

`MaskedConv2d` is the masked convolution of both papers: the rows above, the pixels to the left, and
of the pixel itself the colours that its mask type allows (Pixel Recurrent Neural Networks, section
3.4). `VerticalConv2d` takes rows that are wholly past: the vertical stack's convolution
(Conditional Image Generation with PixelCNN Decoders, section 2.2) and the upper part of the first
layer, `FirstConv2d`.

All give the same numbers in a full pass, over a few rows, and at a front. Tensors are (B, F, rows,
W) over rows and (lanes, F / C) at a front, where F / C are the features of one colour: those of
earlier colours were computed before and never change. The maps of rows above have no colours:
(lanes, F).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache
from nextpixel.front import Front, PastRows, Ring, colour_blocks
from nextpixel.layers.masks import MaskType, colour_mask
from nextpixel.settings.sizes import check_kernel_size

__all__ = ["FirstConv2d", "MaskedConv2d", "VerticalConv2d", "unit_variance"]


class VerticalConv2d(nn.Module):
    """A convolution over rows that are wholly past: a kernel's upper rows, all of its columns.

    Output row r reads input rows r - rows + 1 … r. The caller feeds rows that are one row behind,
    so that r is strictly later than everything read; colours need no mask.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel_size: k, odd: the kernel's columns.
        rows: the kernel's rows; None takes k//2 + 1, half of a square kernel with its centre.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, rows: int | None = None
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size)
        self.columns_beside = kernel_size // 2
        self.rows_above = kernel_size // 2 if rows is None else rows - 1
        self.weight = nn.Parameter(
            unit_variance(torch.ones(outputs, inputs, self.rows_above + 1, kernel_size))
        )
        self.bias = nn.Parameter(torch.zeros(outputs))

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
            x = _below_past_rows(self, x, self.rows_above, cache)
        return functional.conv2d(x, self.weight, self.bias, padding=(0, self.columns_beside))

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
        _add_rows_above(front, y, state, self.columns_beside)
        return y

    def _front_state(self, cache: Cache, front: Front, colours: int) -> "_Upper":
        order = colour_blocks(len(self.bias), colours, self.bias.device)
        weight, bias = front.folded(self, self.weight.detach(), self.bias.detach())
        weight, bias = weight[order].permute(2, 3, 1, 0).flatten(1, 2), bias[order]
        weights = list(weight.flip(0).contiguous())
        if not self.rows_above and not self.columns_beside:
            return _Upper(None, weights, bias)
        past = None
        if self.rows_above:
            past = _past_rows(self, cache, self.weight.shape[1], self.rows_above, self.weight)
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
        return _Upper(ring, weights, bias)


@dataclass
class _Upper:
    """What a kernel that reads rows above keeps at fronts: the map, and a matrix for each row.

    The first matrix is of the pixel's own row, the next of the row above, and so on.
    """

    ring: Ring | None
    weights: list[Tensor]
    bias: Tensor


def _add_rows_above(front: Front, y: Tensor, state: "_Upper", beside: int) -> None:
    assert state.ring is not None or len(state.weights) == 1
    for above, weight in enumerate(state.weights[1:], 1):
        assert state.ring is not None
        front.run(y.addmm_, state.ring.window(above, -beside, beside), weight)


def unit_variance(mask: Tensor) -> Tensor:
    """Random weights (outputs, inputs, …) that keep the variance of their input.

    Only unmasked taps count. Biases start at zero, so that ReLUs are open or closed by what they
    see, not by chance.
    """
    fan_in = mask.flatten(1).sum(dim=1).clamp(min=1).view(-1, *[1] * (mask.ndim - 1))
    return (torch.rand(mask.shape) * 2 - 1) * (3 / fan_in).sqrt()


def _past_rows(layer: nn.Module, cache: Cache, inputs: int, count: int, like: Tensor) -> PastRows:
    """The last rows of a layer's input; zeros if there were none."""
    blank = like.new_zeros(()).expand(cache.batch, inputs, 1, cache.width)
    return cache.state((layer, "rows"), lambda: PastRows(blank, count))


def _below_past_rows(layer: nn.Module, x: Tensor, count: int, cache: Cache | None) -> Tensor:
    """Puts `count` rows above x: those of the pass before, or zeros."""
    if cache is None:
        return functional.pad(x, (0, 0, count, 0))
    return _past_rows(layer, cache, x.shape[1], count, x).append(x)


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
    """

    mask: Tensor

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
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size, at_least=3 if mask_type == "A" else 1)
        if mask_type == "A" and rows_above:
            raise ValueError("mask type A takes no rows above: use FirstConv2d, which adds them")
        centre = colour_mask(outputs, inputs, channels, mask_type, output_blocks=output_blocks)
        self.channels, self.mask_type, self.output_blocks = channels, mask_type, output_blocks
        self.reach, self.rows_above = kernel_size // 2, rows_above
        # In the pixel's own row: the pixels to the left, and the pixel itself if it may be read at
        # all.
        self.taps = self.reach + 1 if channels > 1 or mask_type == "B" else self.reach
        mask = torch.ones(outputs, inputs, rows_above + 1, kernel_size if rows_above else self.taps)
        mask[:, :, -1, self.taps :] = 0
        if self.taps > self.reach:
            mask[:, :, -1, self.reach] = centre
        self.register_buffer("mask", mask, persistent=False)
        # Decided without reading the mask, so that models can be built on the meta device.
        self.masked = channels > 1 or (rows_above > 0 and kernel_size > 1)
        self.weight = nn.Parameter(unit_variance(mask))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def masked_weight(self) -> Tensor:
        """The weights that count, (outputs, inputs, rows, taps)."""
        return self.weight * self.mask if self.masked else self.weight

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
            x = _below_past_rows(self, x, self.rows_above, cache)
        if self.reach:
            x = functional.pad(x, (self.reach, self.weight.shape[3] - 1 - self.reach))
        y = functional.conv2d(x, self.masked_weight(), self.bias)
        return y if onto is None else onto + y

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
        return y

    def _above(self, front: Front, upper: "_Upper | None") -> Tensor:
        """What the rows above add, and the bias: (lanes, C, outputs / C)."""
        assert upper is not None
        outputs = self.weight.shape[0]
        y = front.empty((self, "above"), outputs)
        front.run(y.copy_, upper.bias)
        _add_rows_above(front, y, upper, self.reach)
        return y

    def _front_state(self, x: Tensor, cache: Cache, front: Front) -> "_FrontState":
        colours = self.channels
        outputs, inputs = self.weight.shape[:2]
        width = inputs // colours
        # Rows of each matrix in the order of a window: tap, colour, feature of the colour.
        weight, bias = front.folded(
            self, self.masked_weight().detach(), None if self.bias is None else self.bias.detach()
        )
        weight = weight.unflatten(1, (width, colours)).permute(3, 4, 2, 1, 0)
        own = weight[-1, : self.taps].reshape(self.taps * inputs, outputs)
        block, read = outputs // colours, self.reach * inputs
        weights, biases = [], []
        for c in range(colours):
            of = (
                slice(c * block, (c + 1) * block) if self.output_blocks else slice(c, None, colours)
            )
            end = read + (c + (self.mask_type == "B")) * width
            weights.append(own[:end, of].contiguous())
            if bias is not None and not self.rows_above:
                biases.append(bias[of].contiguous())
        row, upper = None, None
        if self.rows_above:
            past = _past_rows(self, cache, inputs, self.rows_above, x)
            row = Ring(front, colours, width, before=self.reach, above=self.rows_above, past=past)
            order = colour_blocks(outputs, colours, weight.device)
            bias = weight.new_zeros(outputs) if bias is None else bias[order]
            rows = weight[:-1].flip(0).flatten(1, 3)[:, :, order].contiguous()
            upper = _Upper(row, [own, *rows], bias)
        elif self.reach:
            row = Ring(front, colours, width, before=self.reach)
        return _FrontState(weights, biases or None, row, upper)


@dataclass
class _FrontState:
    """A matrix and a bias for each colour, the map that windows are cut from, and rows above."""

    weights: list[Tensor]
    biases: list[Tensor] | None
    row: Ring | None
    upper: _Upper | None


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
        self.left = MaskedConv2d(
            inputs, outputs, kernel_size, channels=channels, mask_type="A", bias=False
        )
        self.above = VerticalConv2d(inputs, outputs, kernel_size, rows=kernel_size // 2)
        # The two parts are one kernel: together their initial weights keep the variance.
        above, left = self.above.weight[0].numel(), inputs * self.left.reach
        with torch.no_grad():
            self.above.weight.mul_((above / (above + left)) ** 0.5)
            self.left.weight.mul_((left / (above + left)) ** 0.5)

    def forward(self, x: Tensor, above: Callable[[], Tensor], cache: Cache | None = None) -> Tensor:
        """Convolves the rows of the image, or at a front the previous sub-pixel.

        `above` gives the same rows one row behind.
        """

        def upper() -> Tensor:
            return self.above(above(), cache, colours=self.left.channels)  # type: ignore[no-any-return]

        if cache is None or cache.front is None:
            return self.left(x, cache, onto=upper())  # type: ignore[no-any-return]
        onto = cache.front.of_colour(cache.front.once(self, upper))
        return self.left(x, cache, onto=onto)  # type: ignore[no-any-return]
