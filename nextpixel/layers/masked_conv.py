"""Convolutions that see only the past.

`MaskedConv2d` is the masked convolution of both papers: the rows above, the pixels to the left, and of the pixel itself
the colours that its mask type allows (Pixel Recurrent Neural Networks, section 3.4). `VerticalConv2d` is the vertical
stack's convolution: its own row and the rows above, all columns (Conditional Image Generation with PixelCNN Decoders,
section 2.2); it takes rows that are wholly past.

Both hold weights for the taps they use, instead of masking a square kernel, and give the same numbers in a full pass,
over a few rows, and at one site. Tensors are (B, F, rows, W) over rows and (B, F / C) at a site, where F / C are the
features of that site's colour: the features of earlier colours were computed at earlier sites and never change.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache, Site
from nextpixel.layers.masks import MaskType, check_kernel_size, colour_mask

__all__ = ["MaskedConv2d", "VerticalConv2d", "unit_variance"]


class VerticalConv2d(nn.Module):
    """A k×k convolution over rows that are wholly past: half the kernel's rows, all of its columns.

    Output row r reads input rows r - k//2 … r. The caller feeds rows that are one row behind (`above`), so that r
    is strictly later than everything read; colours need no mask.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size)
        self.reach = kernel_size // 2
        self.weight = nn.Parameter(unit_variance(torch.ones(outputs, inputs, self.reach + 1, kernel_size)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, inputs, rows, W) to (B, outputs, rows, W)."""
        if self.reach:  # otherwise padding would copy the map, and there is no past to keep
            if cache is None:
                x = functional.pad(x, (0, 0, self.reach, 0))
            else:
                x = cache.state(self, lambda: _PastRows(x, self.reach)).and_now(x)
        return functional.conv2d(x, self.weight, self.bias, padding=(0, self.reach))


def unit_variance(mask: Tensor) -> Tensor:
    """Random weights (outputs, inputs, ...) that keep the variance of their input; only unmasked taps count.

    Biases start at zero beside them: then ReLUs are open or closed by what they see, not by chance.
    """
    fan_in = mask.flatten(1).sum(dim=1).clamp(min=1).view(-1, *[1] * (mask.ndim - 1))
    return (torch.rand(mask.shape) * 2 - 1) * (3 / fan_in).sqrt()


class _PastRows:
    """The last rows of a layer's input."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.count = count
        self.rows = like.new_zeros(like.shape[0], like.shape[1], count, like.shape[3])

    def and_now(self, x: Tensor) -> Tensor:
        """The past rows followed by x, whose last rows are the new past."""
        both = torch.cat([self.rows, x], dim=2)
        self.rows = both[:, :, -self.count :].clone()  # a view would keep all of both
        return both


class MaskedConv2d(nn.Module):
    """A convolution along the row over the pixels to the left and, as far as the mask type allows, the pixel itself.

    Kernel 1×k with mask "A" or "B"; k = 1 with mask "B" is the masked 1×1 convolution of residual blocks and heads.
    The mask multiplies the weights in every pass, so optimisers, weight averages and checkpoints need not know of it.

    Args:
        inputs: input channels, a multiple of `channels`.
        outputs: output channels, a multiple of `channels`.
        kernel_size: k, odd; the taps are the pixel and k//2 to its left.
        channels: number of colours C.
        mask_type: "A" for the first layer, whose input is the image; "B" for all others.
        bias: whether to add one learned number per output channel.
        output_blocks: whether the output channels come in blocks, one per colour, instead of interleaved.
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
        bias: bool = True,
        output_blocks: bool = False,
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size, at_least=3 if mask_type == "A" else 1)
        centre = colour_mask(outputs, inputs, channels, mask_type, output_blocks=output_blocks)
        self.channels, self.mask_type, self.output_blocks = channels, mask_type, output_blocks
        self.reach = kernel_size // 2
        # With one colour, mask A leaves nothing of the centre: that tap is not stored.
        taps = self.reach + 1 if centre.any() else self.reach
        mask = torch.ones(outputs, inputs, 1, taps)
        if taps > self.reach:
            mask[:, :, 0, -1] = centre
        self.register_buffer("mask", mask, persistent=False)
        self.masked = not bool(mask.all())
        self.weight = nn.Parameter(unit_variance(mask))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def masked_weight(self) -> Tensor:
        """The weights that count, (outputs, inputs, 1, taps)."""
        return self.weight * self.mask if self.masked else self.weight

    def forward(self, x: Tensor, cache: Cache | None = None, *, onto: Tensor | None = None) -> Tensor:
        """Convolves x and adds the result onto `onto` if given.

        Over rows: (B, inputs, rows, W) to (B, outputs, rows, W). At a site of colour c: the (B, inputs / C) features
        of colour c to the (B, outputs / C) outputs of colour c; mask type "A" takes the previous sub-pixel instead.
        """
        if cache is not None and cache.site is not None:
            return self._at_site(x, cache, cache.site, onto)
        taps = self.weight.shape[3]
        if self.reach:
            x = functional.pad(x, (self.reach, taps - 1 - self.reach))
        y = functional.conv2d(x, self.masked_weight(), self.bias)
        return y if onto is None else onto + y

    def _at_site(self, x: Tensor, cache: Cache, site: Site, onto: Tensor | None) -> Tensor:
        state = cache.state(self, lambda: self._site_state(x, cache))
        channel, _, column = site
        if state.row is not None:
            source = cache.previous_site() if self.mask_type == "A" else site
            if source is not None:
                state.inlets[source.column][source.channel].copy_(x)
            x = state.windows[column]
        if state.biases is None:
            return x @ state.weights[channel] if onto is None else torch.addmm(onto, x, state.weights[channel])
        y = torch.addmm(state.biases[channel], x, state.weights[channel])
        return y if onto is None else y.add_(onto)

    def _site_state(self, x: Tensor, cache: Cache) -> "_SiteState":
        colours = self.channels
        outputs, inputs, _, taps = self.weight.shape
        # Rows of each matrix in the order of a window: tap, colour, feature of the colour.
        weight = self.masked_weight().detach().view(outputs, inputs // colours, colours, taps).permute(3, 2, 1, 0)
        weight = weight.reshape(taps * inputs, outputs)
        block = outputs // colours
        of_colour = [
            slice(c * block, (c + 1) * block) if self.output_blocks else slice(c, None, colours) for c in range(colours)
        ]
        weights = [weight[:, of].contiguous() for of in of_colour]
        biases = None if self.bias is None else [self.bias.detach()[of].contiguous() for of in of_colour]
        if self.reach == 0 and colours == 1:
            return _SiteState(weights, biases, None, [], [])
        row = x.new_zeros(x.shape[0], self.reach + cache.width, colours, inputs // colours)
        windows = [row[:, c : c + taps].flatten(1) for c in range(cache.width)]
        inlets = [list(row[:, self.reach + c].unbind(1)) for c in range(cache.width)]
        return _SiteState(weights, biases, row, windows, inlets)


@dataclass
class _SiteState:
    """One matrix per colour, and the current row of the input with its window and inlet for every column (views)."""

    weights: list[Tensor]
    biases: list[Tensor] | None
    row: Tensor | None
    windows: list[Tensor]
    inlets: list[list[Tensor]]
