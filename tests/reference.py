"""Slow and obviously right: plain loops over sites and taps, to hold the layers against."""

import itertools

import torch
from torch import Tensor

from nextpixel import GatedPixelCNN
from nextpixel.layers.masked_conv import MaskedConv2d, VerticalConv2d


def masked_conv(layer: MaskedConv2d, x: Tensor) -> Tensor:
    """Sums, at each site, the weights times what the site may see."""
    outputs, inputs, _, taps = layer.weight.shape
    batch, _, height, width = x.shape
    y = torch.zeros(batch, outputs, height, width, dtype=x.dtype)
    for o, r, c in itertools.product(range(outputs), range(height), range(width)):
        if layer.bias is not None:
            y[:, o, r, c] += layer.bias[o]
        for i, tap in itertools.product(range(inputs), range(taps)):
            column = c - layer.reach + tap
            own, theirs = o % layer.channels, i % layer.channels
            allowed = column < c or theirs < own or (theirs == own and layer.mask_type == "B")
            if column >= 0 and allowed:
                y[:, o, r, c] += layer.weight[o, i, 0, tap] * x[:, i, r, column]
    return y


def vertical_conv(layer: VerticalConv2d, x: Tensor) -> Tensor:
    """Sums, at each pixel, the weights times the pixels of its row and of the rows above."""
    outputs, inputs, rows, columns = layer.weight.shape
    batch, _, height, width = x.shape
    y = layer.bias[:, None, None].repeat(batch, 1, height, width)
    for o, i, r, c in itertools.product(range(outputs), range(inputs), range(height), range(width)):
        for dy, dx in itertools.product(range(rows), range(columns)):
            row, column = r - (rows - 1) + dy, c - columns // 2 + dx
            if row >= 0 and 0 <= column < width:
                y[:, o, r, c] += layer.weight[o, i, dy, dx] * x[:, i, row, column]
    return y


def gated_pixel_cnn(model: GatedPixelCNN, x: Tensor, condition: Tensor | None) -> Tensor:
    """Outputs of the head (B, C·outputs, H, W), by the paper's equations, figure 2 and the head of the PixelRNN paper.

    Vertical: y = W ∗ v, v' = gate(y + V h), no residual. Horizontal: gate(W ∗ h + link(y) + V h), 1×1, plus h except in
    the first layer. The vertical stack is fed by the image one row down.
    """
    image = 2 * x.double() / (model.levels - 1) - 1
    v, h = torch.zeros_like(image), image
    v[:, :, 1:] = image[:, :, :-1]
    skips = torch.zeros(()).double()
    for layer, block in enumerate(model.blocks):
        y = vertical_conv(block.vertical_conv, v)
        a = masked_conv(block.horizontal_conv, h) + vertical_conv(block.link, y)
        if condition is not None:
            a = a + block.horizontal_bias.bias.weight[condition][:, :, None, None]
        if layer < len(model.blocks) - 1:
            if condition is not None:
                y = y + block.vertical_bias.bias.weight[condition][:, :, None, None]
            v = _gate(y)
        gated = _gate(a)
        out = masked_conv(block.out, gated)
        h = out if layer == 0 else h + out
        if block.skip is not None:
            skips = skips + masked_conv(block.skip, gated)
    hidden = masked_conv(model.head_hidden, (h + skips).clamp(min=0))
    return _blocks(model.head_out, hidden.clamp(min=0))


def _gate(y: Tensor) -> Tensor:
    half = y.shape[1] // 2
    return torch.tanh(y[:, :half]) / (1 + torch.exp(-y[:, half:]))


def _blocks(layer: MaskedConv2d, x: Tensor) -> Tensor:
    """A 1×1 convolution whose outputs come in blocks, one per colour."""
    per_colour = len(layer.weight) // layer.channels
    y = layer.bias[:, None, None].repeat(len(x), 1, *x.shape[2:])
    for o, i in itertools.product(range(len(layer.weight)), range(x.shape[1])):
        if i % layer.channels <= o // per_colour:
            y[:, o] += layer.weight[o, i, 0, 0] * x[:, i]
    return y
