"""Slow and obviously right: plain loops over sites and taps, to hold the layers against."""

import itertools

import torch
from torch import Tensor

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
            row, column = r - layer.reach + dy, c - layer.reach + dx
            if row >= 0 and 0 <= column < width:
                y[:, o, r, c] += layer.weight[o, i, dy, dx] * x[:, i, row, column]
    return y
