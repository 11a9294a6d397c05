"""Diagonal BiLSTM: two LSTMs that go through the map by diagonals.

Pixel Recurrent Neural Networks, section 3.2. One direction starts in the upper left corner, the
other in the upper right; a cell reads the states above it and before it (left or right of it) and
the cell state before it. Input-to-state is 1×1 with mask "B". The second direction's map is shifted
down one row before it is added to the first's, so that no future pixel is seen.

The published construction has a gap: the last pixel of the row above (its last colour) is seen
only through features of that row to the right of the current column, which neither direction may
read. With `complete_context` the second direction of the first layer also reads the image itself,
the current pixel included, which is past after the shift.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache
from nextpixel.front.place import Front, total
from nextpixel.layers.arithmetic import Arithmetic
from nextpixel.layers.conditioning import ConditionBias, Encoded, Widths
from nextpixel.layers.layout import Conv2d
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.layers.residual import Image
from nextpixel.layers.scan import diagonal_fronts, lstm_cell, lstm_scan
from nextpixel.layers.vertical_conv import unit_variance

__all__ = ["DiagonalBiLSTMLayer"]

_ABOVE, _BEFORE = 0, 1  # the taps


class DiagonalBiLSTMLayer(nn.Module):
    """One layer, from 2h maps to h states, the sum of both directions'.

    Args:
        features: h; the input has 2h maps.
        channels: number of colours C that are predicted one after another.
        widths: of what the model is conditioned on, or None.
        image_channels: channels of the image that the second direction also reads; 0 for none, as
            published.
    """

    arithmetic: Arithmetic | None = None

    def __init__(
        self, features: int, *, channels: int, widths: Widths | None, image_channels: int = 0
    ) -> None:
        super().__init__()
        self.features = features
        self.input_to_state = nn.ModuleList(
            MaskedConv2d(
                2 * features, 4 * features, 1, channels=channels, mask_type="B", gates=True
            )
            for _ in range(2)
        )
        # Matrices for each direction and tap.
        self.state_to_state = nn.Parameter(torch.empty(2, 2, features, 4 * features))
        self.initial_h = nn.Parameter(torch.empty(2, features))
        self.initial_c = nn.Parameter(torch.empty(2, features))
        self.reset_parameters()
        self.condition_bias = ConditionBias(widths, 8 * features) if widths is not None else None
        self.image_to_state = (
            Conv2d(image_channels, 4 * features, 1, bias=False) if image_channels else None
        )

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random matrices that keep the variance of the states, which are zero at first."""
        weight = self.state_to_state.new_empty(2, 4 * self.features, 2, self.features)
        unit_variance(weight.flatten(0, 1), 2 * self.features)
        self.state_to_state.copy_(weight.permute(0, 2, 3, 1))
        self.initial_h.zero_()
        self.initial_c.zero_()

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"{2 * self.features}, {self.features}, directions=2"

    @property
    def _input_to_state(self) -> list[MaskedConv2d]:
        return cast(list[MaskedConv2d], list(self.input_to_state))

    def forward(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, image: Image
    ) -> Tensor:
        """2h maps to h, over rows or at a front."""
        if cache is None:
            return self._over_rows(x, condition, range(x.shape[2]), None, image)
        state = self._state(x, cache)
        if cache.front is not None:
            return self._at_front(x, condition, cache, cache.front, state, image)
        return self._over_rows(x, condition, cache.rows, state, image)

    def _over_rows(
        self,
        x: Tensor,
        condition: Encoded | None,
        rows: range,
        state: "_State | None",
        image: Image,
    ) -> Tensor:
        batch, _, height, width = x.shape
        biases = self._biases(condition, rows)
        z = [conv(x, onto=bias) for conv, bias in zip(self._input_to_state, biases, strict=True)]
        if self.image_to_state is not None:
            z[1] = z[1] + self.image_to_state(image(rows))
        first_h = self.initial_h[:, None, None].expand(-1, height, batch, -1)
        first_c = self.initial_c[:, None, None].expand(-1, width + height, batch, -1)
        if state is None:
            above = self.initial_h[:, None, None].expand(-1, width, batch, -1)
        else:
            above = torch.stack([state.above[0], state.above[1].flip(3)])[:, :, :, 0].permute(
                0, 3, 1, 2
            )
        border_h = torch.cat([above.to(first_h.dtype), first_h], dim=1)
        (left, right), _ = lstm_scan(
            z,
            self.state_to_state,
            border_h,
            first_c,
            diagonal_fronts(height, width),
            self.arithmetic,
        )
        first_row = (
            left.new_zeros(batch, self.features, 1, width) if state is None else state.shifted(left)
        )
        if state is not None:
            state.above, state.begun = (left[:, :, -1:], right[:, :, -1:]), True
        return left + torch.cat([first_row, right[:, :, :-1]], dim=2)

    def _biases(
        self, condition: Encoded | None, rows: range
    ) -> tuple[Tensor | None, Tensor | None]:
        """What a condition adds to the gates of both directions."""
        if self.condition_bias is None or condition is None:
            return None, None
        left, right = self.condition_bias(condition, rows).chunk(2, dim=1)
        return left, right

    def _state(self, x: Tensor, cache: Cache) -> "_State":
        def initial() -> _State:
            h = self.initial_h.detach().to(x.dtype)[:, None, :, None, None]
            left, right = h.expand(-1, cache.batch, -1, 1, cache.width)
            return _State((left, right))

        return cache.state(self, initial)

    def _at_front(
        self,
        x: Tensor,
        condition: Encoded | None,
        cache: Cache,
        front: Front,
        state: "_State",
        image: Image,
    ) -> Tensor:
        row = front.state(self, lambda: self._begin(x, condition, front, state, image))
        column, channel = front.phase, front.channel
        front.run(row.inputs[:, column, channel].copy_, x)
        gates = self._input_to_state[0](x, cache, onto=row.above[:, column, channel])
        before = row.h[:, column].flatten(1)
        front.run(torch.addmm, gates, before, row.matrices[channel], out=gates)
        h, c = row.h[:, column + 1, channel], row.c[:, column + 1, channel]
        lstm_cell(front, gates, row.c[:, column, channel], h, c, self.arithmetic)
        return total(h, row.right[:, column, channel], front, self)

    def _begin(
        self, x: Tensor, condition: Encoded | None, front: Front, state: "_State", image: Image
    ) -> "_Row":
        """Makes room for a row in progress, and enters the first."""
        colours, columns = front.colours, front.skew.block
        size = self.features // colours

        def blank(columns: int, width: int) -> Tensor:
            return x.new_zeros(front.batch, columns, colours, width)

        matrix = self.state_to_state.detach()[0, _BEFORE]
        matrix = torch.unflatten(matrix, 0, (size, colours)).transpose(0, 1).flatten(0, 1)
        row = _Row(
            inputs=blank(columns, x.shape[1]),
            above=blank(columns, 4 * size),
            right=blank(columns, size),
            h=blank(1 + columns, size),
            c=blank(1 + columns, size),
            matrices=[front.matrix(matrix[:, colour::colours]) for colour in range(colours)],
        )
        row.h[:, 0] = _by_colour(self.initial_h.detach()[0], colours)
        row.c[:, 0] = _by_colour(self.initial_c.detach()[0], colours)
        left = self.state_to_state.detach()[0, _ABOVE].T[:, :, None, None]

        def enter() -> None:
            """What the row above adds to the first direction's gates, and the second's states."""
            bias, _ = self._biases(condition, range(front.row, front.row + 1))
            gates = functional.conv2d(state.above[0], left.to(x.dtype))
            width = front.skew.width
            row.above[:, :width] = _by_colour(gates if bias is None else gates + bias, colours)
            row.right[:, :width] = _by_colour(state.shifted(x), colours)

        def finish(number: int) -> None:
            """Runs both directions over the row that is complete."""
            inputs = row.inputs[:, : front.skew.width].permute(0, 3, 2, 1).flatten(1, 2)
            rows = range(number, number + 1)
            self._over_rows(inputs[:, :, None], condition, rows, state, image)

        def next_row() -> None:
            if front.row > front.skew.rows.start:
                finish(front.row - 1)
                enter()

        def replace(places: Tensor, sources: Tensor) -> None:
            for maps in (row.inputs, row.above, row.right, row.h, row.c):
                maps[places] = maps[sources]
            left, right = state.above
            state.above = (
                left.index_copy(0, places, left[sources]),
                right.index_copy(0, places, right[sources]),
            )

        enter()
        front.at_replacements(replace)
        front.at_blocks(next_row)
        if front.keep:
            front.at_end(lambda: finish(front.row))
        return row


def _by_colour(maps: Tensor, colours: int) -> Tensor:
    """Maps (F,) as (C, F / C); maps (B, F, 1, W) as (B, W, C, F / C)."""
    if maps.ndim == 1:
        return torch.unflatten(maps, 0, (-1, colours)).T
    return torch.unflatten(maps[:, :, 0], 1, (-1, colours)).permute(0, 3, 2, 1)


@dataclass
class _State:
    """Both directions' states in the row above, (B, h, 1, W) each."""

    above: tuple[Tensor, Tensor]
    begun: bool = False

    def shifted(self, like: Tensor) -> Tensor:
        """The second direction's map, one row down, below `above`; zeros in the first row."""
        right = self.above[1]
        return right if self.begun else torch.zeros_like(right, dtype=like.dtype)


@dataclass
class _Row:
    """The row in progress, (B, columns, C, features): what layers read or have computed.

    Attributes:
        inputs: the layer's input.
        above: what the row above adds to the first direction's gates.
        right: the second direction's states in the row above.
        h, c: the first direction's states and cell states, after an initial column.
        matrices: for each colour, that of the states before.
    """

    inputs: Tensor
    above: Tensor
    right: Tensor
    h: Tensor
    c: Tensor
    matrices: list[Tensor]
