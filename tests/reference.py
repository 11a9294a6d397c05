"""Slow and obviously right: plain loops over sites and taps, to hold the layers against."""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nextpixel import ClassCondition, GatedPixelCNN
from nextpixel.conditions.values import Values
from nextpixel.layers.conditioning import ConditionBias
from nextpixel.layers.diagonal_lstm import DiagonalBiLSTMLayer
from nextpixel.layers.inputs import CategoricalInput
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.layers.residual import ConvolutionalLayer
from nextpixel.layers.row_lstm import RowLSTMLayer
from nextpixel.layers.vertical_conv import VerticalConv2d
from nextpixel.models.core import AutoregressiveModel, ImageModel


def masked_conv(layer: MaskedConv2d, x: Tensor) -> Tensor:
    """Sums, at each site, the weights times what the site may see."""
    outputs, inputs, rows, taps = layer.weight.shape
    batch, _, height, width = x.shape
    y = torch.zeros(batch, outputs, height, width, dtype=x.dtype)
    if layer.bias is not None:
        y += layer.bias[:, None, None]
    own = torch.arange(outputs)[:, None] % layer.channels
    theirs = torch.arange(inputs)[None] % layer.channels
    allowed = (theirs <= own) if layer.mask_type == "B" else (theirs < own)
    for r, c, dy, tap in _product(height, width, rows, taps):
        row, column = r - (rows - 1) + dy, c - layer.reach + tap
        if row < 0 or not 0 <= column < width:
            continue
        weight = layer.weight[:, :, dy, tap]
        if row < r or column < c:
            y[:, :, r, c] += x[:, :, row, column] @ weight.T
        elif column == c:
            y[:, :, r, c] += x[:, :, row, column] @ (weight * allowed).T
    return y


def vertical_conv(layer: VerticalConv2d, x: Tensor) -> Tensor:
    """Sums, at each pixel, the weights times the pixels of its row and of the rows above."""
    _, _, rows, columns = layer.weight.shape
    batch, _, height, width = x.shape
    y = layer.bias[:, None, None].repeat(batch, 1, height, width)
    for r, c, dy, dx in _product(height, width, rows, columns):
        row, column = r - (rows - 1) + dy, c - columns // 2 + dx
        if row >= 0 and 0 <= column < width:
            y[:, :, r, c] += x[:, :, row, column] @ layer.weight[:, :, dy, dx].T
    return y


def _product(*counts: int) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, counts))


def gated_pixel_cnn(model: GatedPixelCNN, x: Tensor, condition: Values) -> Tensor:
    """Outputs of the head (B, C·outputs, H, W), by the equations and figure 2 of the paper.

    The head is that of the PixelRNN paper.

    Vertical: y = W ∗ v, v' = gate(y + V h), no residual. Horizontal: gate(W ∗ h + link(y) + V h),
    1×1, plus h except in the first layer. The vertical stack is fed by the image one row down.
    """
    image = _image(model, x)
    v, h = torch.zeros_like(image), image
    v[:, :, 1:] = image[:, :, :-1]
    skips, given = torch.zeros(()).double(), _given(model, condition)
    for layer, block in enumerate(model.blocks):
        y = vertical_conv(block.vertical_conv, v)
        a = masked_conv(block.horizontal_conv, h) + vertical_conv(block.link, y)
        a = a + _bias(block.horizontal_bias, given, image)
        if layer < len(model.blocks) - 1:
            v = _gate(y + _bias(block.vertical_bias, given, image))
        gated = _gate(a)
        out = masked_conv(block.out, gated)
        h = out if layer == 0 else h + out
        if block.skip is not None:
            skips = skips + masked_conv(block.skip, gated)
    hidden = masked_conv(model.head_hidden, (h + skips).clamp(min=0))
    return _blocks(model.head_out, hidden.clamp(min=0))


def pixel_rnn(model: AutoregressiveModel, x: Tensor, condition: Values) -> Tensor:
    """Outputs of the head (B, C·outputs, H, W), by table 1, figure 5 and sections 3.1 and 3.2.

    V h is added to each layer's pre-activation.
    """
    image = _image(model, x)
    shifted = torch.zeros_like(image)
    shifted[:, :, 1:] = image[:, :, :-1]
    y, skips = masked_conv(model.first.left, image) + vertical_conv(model.first.above, shifted), 0.0
    given = _given(model, condition)
    for block in model.blocks:
        layer = block.layer
        bias = _bias(layer.condition_bias, given, image)
        if isinstance(layer, ConvolutionalLayer):
            down = masked_conv(layer.down, y.clamp(min=0)).clamp(min=0)
            h = masked_conv(layer.conv, down) + bias
            h = _gate(h) if layer.gated else h.clamp(min=0)
        elif isinstance(layer, RowLSTMLayer):
            h = _row_lstm(layer, masked_conv(layer.input_to_state, y) + bias)
        else:
            h = _diagonal_bilstm(layer, y, bias, image)
        if block.skip is not None:
            skips = skips + masked_conv(block.skip, h)
        y = masked_conv(block.up, h) + (y if block.residual else 0)
    hidden = masked_conv(model.head_hidden, (y + skips).clamp(min=0))
    return _blocks(model.head_out, hidden.clamp(min=0))


def _image(model: AutoregressiveModel, x: Tensor) -> Tensor:
    """Ordinal values on [-1, 1]; categorical ones as features, channel k of colour k % C."""
    if not isinstance(model.values, CategoricalInput):
        return 2 * x.double() / (model.levels - 1) - 1
    maps = []
    for feature, colour in itertools.product(
        range(model.settings.value_features), range(model.channels)
    ):
        table = model.values.weight[colour * model.levels : (colour + 1) * model.levels, feature]
        maps.append(table[x[:, colour]])
    return torch.stack(maps, dim=1)


def _given(model: ImageModel, condition: Values) -> Tensor | None:
    """H (B, V): classes one-hot, vectors standardised and followed by a one."""
    if not condition:
        return None
    columns = []
    for part, value in zip(model.conditions, condition, strict=True):
        if isinstance(part, ClassCondition):
            columns += [(value == k).double() for k in range(part.classes)]
        else:
            offset, factor = model.encoder.offset, model.encoder.factor
            columns += [(value[:, k].double() - offset[k]) * factor[k] for k in range(part.size)]
            columns.append(torch.ones(len(value)).double())
    return torch.stack(columns, dim=1)


def _bias(layer: ConditionBias | None, given: Tensor | None, image: Tensor) -> Tensor:
    """V h, and V s of where each pixel is: products of cosines, slowest along columns."""
    bias = torch.zeros(1, 1, *image.shape[2:]).double()
    if given is not None:
        bias = bias + (given[:, None, :] * layer.of_vector.weight).sum(dim=2)[:, :, None, None]
    if layer is not None and layer.of_positions is not None:
        waves = math.isqrt(layer.of_positions.in_channels + 1) - 1
        orders = [ij for ij in itertools.product(range(waves + 1), repeat=2) if ij != (0, 0)]
        of_pixel = torch.zeros(len(layer.of_positions.weight), *image.shape[2:]).double()
        for r, c in itertools.product(range(image.shape[2]), range(image.shape[3])):
            y, x = (r + 0.5) / image.shape[2], (c + 0.5) / image.shape[3]
            for k, (i, j) in enumerate(orders):
                wave = math.cos(math.pi * i * y) * math.cos(math.pi * j * x)
                of_pixel[:, r, c] += layer.of_positions.weight[:, k, 0, 0] * wave
        bias = bias + of_pixel
    return bias


def _row_lstm(layer: RowLSTMLayer, z: Tensor) -> Tensor:
    batch, gates, height, width = z.shape
    states = torch.zeros(batch, gates // 4, height, width, dtype=z.dtype)
    h = layer.initial_h[None, :, None].expand(batch, -1, width)
    c = layer.initial_c[None, :, None].expand(batch, -1, width)
    reach = layer.kernel_size // 2
    for row in range(height):
        new_h, new_c = torch.zeros_like(states[:, :, 0]), torch.zeros_like(states[:, :, 0])
        for column in range(width):
            a = z[:, :, row, column].clone()
            for tap in range(layer.kernel_size):
                if 0 <= column - reach + tap < width:
                    a += h[:, :, column - reach + tap] @ layer.state_to_state[tap]
            new_h[:, :, column], new_c[:, :, column] = _cell(a, c[:, :, column])
        h, c = new_h, new_c
        states[:, :, row] = h
    return states


def _diagonal_bilstm(layer: DiagonalBiLSTMLayer, y: Tensor, bias: Tensor, image: Tensor) -> Tensor:
    directions = []
    for direction in range(2):
        z = masked_conv(layer.input_to_state[direction], y)
        z = z + (bias.chunk(2, dim=1)[direction] if bias.shape[1] > 1 else bias)
        if direction == 1 and layer.image_to_state is not None:
            z = z + torch.einsum("oi,bihw->bohw", layer.image_to_state.weight[:, :, 0, 0], image)
        z = z.flip(3) if direction else z
        h0, c0 = (v[direction][None].expand(len(y), -1) for v in (layer.initial_h, layer.initial_c))
        above_matrix, before_matrix = layer.state_to_state[direction]
        states: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for row, column in itertools.product(range(z.shape[2]), range(z.shape[3])):
            above, _ = states.get((row - 1, column), (h0, c0))
            before, carried = states.get((row, column - 1), (h0, c0))
            gates = z[:, :, row, column] + above @ above_matrix + before @ before_matrix
            states[row, column] = _cell(gates, carried)
        h = torch.stack([h for h, _ in states.values()], dim=2).unflatten(
            2, (z.shape[2], z.shape[3])
        )
        directions.append(h.flip(3) if direction else h)
    left, right = directions
    y = left.clone()
    y[:, :, 1:] += right[:, :, :-1]
    return y


def _cell(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    o, f, i, g = a.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gate(y: Tensor) -> Tensor:
    half = y.shape[1] // 2
    return torch.tanh(y[:, :half]) / (1 + torch.exp(-y[:, half:]))


def _blocks(layer: MaskedConv2d, x: Tensor) -> Tensor:
    """A 1×1 convolution whose outputs come in blocks, one per colour."""
    per_colour = len(layer.weight) // layer.channels
    y = layer.bias[:, None, None].repeat(len(x), 1, *x.shape[2:])
    own = torch.arange(len(layer.weight))[:, None] // per_colour
    theirs = torch.arange(x.shape[1])[None] % layer.channels
    weight = layer.weight[:, :, 0, 0] * (theirs <= own)
    for r, c in _product(*x.shape[2:]):
        y[:, :, r, c] += x[:, :, r, c] @ weight.T
    return y
