"""Convolutions that see only the past.

`MaskedConv2d` is the masked convolution of both papers: the rows above, the pixels to the left, and
of the pixel itself the colours that its mask type allows (Pixel Recurrent Neural Networks, section
3.4). `VerticalConv2d` takes rows that are wholly past: the vertical stack's convolution
(Conditional Image Generation with PixelCNN Decoders, section 2.2) and the upper part of the first
layer, `FirstConv2d`.

All give the same numbers in a full pass, over a few rows, and at one site. Tensors are (B, F, rows,
W) over rows and (B, F / C) at a site, where F / C are the features of that site's colour: the
features of earlier colours were computed at earlier sites and never change.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache, RowInProgress, Site, once_per_row
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

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, inputs, rows, W) to (B, outputs, rows, W)."""
        if self.rows_above:  # otherwise padding would copy the map, and there is no past to keep
            x = _below_past_rows(self, x, self.rows_above, cache)
        return functional.conv2d(x, self.weight, self.bias, padding=(0, self.columns_beside))


def unit_variance(mask: Tensor) -> Tensor:
    """Random weights (outputs, inputs, …) that keep the variance of their input.

    Only unmasked taps count. Biases start at zero, so that ReLUs are open or closed by what they
    see, not by chance.
    """
    fan_in = mask.flatten(1).sum(dim=1).clamp(min=1).view(-1, *[1] * (mask.ndim - 1))
    return (torch.rand(mask.shape) * 2 - 1) * (3 / fan_in).sqrt()


class _PastRows:
    """The last rows of a layer's input, (B, F, count, W)."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.rows = like.new_zeros(like.shape[0], like.shape[1], count, like.shape[3])

    def append(self, x: Tensor) -> Tensor:
        """Takes rows in; returns the past rows followed by them."""
        both = torch.cat([self.rows, x], dim=2)
        self.rows = both[:, :, -self.rows.shape[2] :].clone()  # a view would keep all of both
        return both


def _below_past_rows(layer: nn.Module, x: Tensor, count: int, cache: Cache | None) -> Tensor:
    """Puts `count` rows above x: those of the pass before, or zeros."""
    if cache is None:
        return functional.pad(x, (0, 0, count, 0))
    return cache.state((layer, "rows"), lambda: _PastRows(x, count)).append(x)


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

        Over rows: (B, inputs, rows, W) to (B, outputs, rows, W). At a site of colour c: the (B,
        inputs / C) features of colour c to the (B, outputs / C) outputs of colour c; mask type "A"
        takes the previous sub-pixel instead.
        """
        if cache is not None and cache.site is not None:
            return self._at_site(x, cache, cache.site, onto)
        if self.rows_above:
            if cache is not None:
                self._take_in_finished_row(cache)
            x = _below_past_rows(self, x, self.rows_above, cache)
        if self.reach:
            x = functional.pad(x, (self.reach, self.weight.shape[3] - 1 - self.reach))
        y = functional.conv2d(x, self.masked_weight(), self.bias)
        return y if onto is None else onto + y

    def _at_site(self, x: Tensor, cache: Cache, site: Site, onto: Tensor | None) -> Tensor:
        state = cache.state(self, lambda: self._site_state(x, cache))
        channel, _, column = site
        if self.rows_above:
            (above,) = cache.at_site(self, lambda: [self._above(x, cache)])
            onto = above if onto is None else onto + above
        if state.row is not None:
            source = cache.previous_site() if self.mask_type == "A" else site
            if source is not None:
                state.row.put(source, x)
            x = state.windows[column]
        if state.biases is None:
            return (
                x @ state.weights[channel]
                if onto is None
                else torch.addmm(onto, x, state.weights[channel])
            )
        y = torch.addmm(state.biases[channel], x, state.weights[channel])
        return y if onto is None else y.add_(onto)

    def _above(self, x: Tensor, cache: Cache) -> Tensor:
        """What the rows above add to the current one, and the bias: (B, outputs, 1, W)."""
        self._take_in_finished_row(cache)
        inputs = self.weight.shape[1]
        blank = x.new_zeros(x.shape[0], inputs, 1, cache.width)
        past = cache.state((self, "rows"), lambda: _PastRows(blank, self.rows_above))
        return functional.conv2d(
            past.rows, self.weight[:, :, :-1], self.bias, padding=(0, self.reach)
        )

    def _take_in_finished_row(self, cache: Cache) -> None:
        """Appends the row that was walked site by site, if there is one, to the past rows."""
        state = cache.state(self, lambda: None)
        row = None if state is None or state.row is None else state.row.take()
        if row is not None:
            _below_past_rows(self, row, self.rows_above, cache)

    def _site_state(self, x: Tensor, cache: Cache) -> "_SiteState":
        colours = self.channels
        outputs, inputs = self.weight.shape[:2]
        # Rows of each matrix in the order of a window: tap, colour, feature of the colour.
        weight = self.masked_weight().detach()[:, :, -1, : self.taps]
        # The image's channels are one site if the model predicts them at once.
        weight = weight.reshape(outputs, inputs // colours, colours, self.taps).permute(3, 2, 1, 0)
        weight = weight.reshape(self.taps * inputs, outputs)
        block = outputs // colours
        of_colour = [
            slice(c * block, (c + 1) * block) if self.output_blocks else slice(c, None, colours)
            for c in range(colours)
        ]
        weights = [weight[:, of].contiguous() for of in of_colour]
        # With rows above, the bias is in what they contribute.
        biases = (
            None
            if self.bias is None or self.rows_above
            else [self.bias.detach()[of].contiguous() for of in of_colour]
        )
        if self.reach == 0 and colours == 1 and not self.rows_above:
            return _SiteState(weights, biases, None, [])
        row = RowInProgress(x, cache, self.reach)
        windows = [row.values[:, c : c + self.taps].flatten(1) for c in range(cache.width)]
        return _SiteState(weights, biases, row, windows)


@dataclass
class _SiteState:
    """A matrix for each colour, and the current row of the input with a view for every column."""

    weights: list[Tensor]
    biases: list[Tensor] | None
    row: RowInProgress | None
    windows: list[Tensor]


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
        """Convolves the rows of the image, or at a site the previous sub-pixel.

        `above` gives the same rows one row behind.
        """
        (onto,) = once_per_row(cache, self, lambda: [self.above(above(), cache)])
        return self.left(x, cache, onto=onto)  # type: ignore[no-any-return]
