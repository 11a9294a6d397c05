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

from nextpixel.cache import Cache, RowInProgress, Site, once_per_row
from nextpixel.layers.conditioning import ConditionBias, Encoded, Widths
from nextpixel.layers.masked_conv import MaskedConv2d, unit_variance
from nextpixel.layers.residual import Image
from nextpixel.layers.row_lstm import open_forget_gates
from nextpixel.layers.scan import diagonal_fronts, lstm_cell, lstm_scan

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

    def __init__(
        self, features: int, *, channels: int, widths: Widths | None, image_channels: int = 0
    ) -> None:
        super().__init__()
        self.features = features
        self.input_to_state = nn.ModuleList(
            MaskedConv2d(2 * features, 4 * features, 1, channels=channels, mask_type="B")
            for _ in range(2)
        )
        for conv in self._input_to_state:
            open_forget_gates(conv, features)
        # Matrices for each direction and tap.
        weight = unit_variance(torch.ones(2, 4 * features, 2, features).flatten(0, 1)).view(
            2, 4 * features, 2, features
        )
        self.state_to_state = nn.Parameter(weight.permute(0, 2, 3, 1).contiguous())
        self.initial_h = nn.Parameter(torch.zeros(2, features))
        self.initial_c = nn.Parameter(torch.zeros(2, features))
        self.condition_bias = ConditionBias(widths, 8 * features) if widths is not None else None
        self.image_to_state = (
            nn.Conv2d(image_channels, 4 * features, 1, bias=False) if image_channels else None
        )

    @property
    def _input_to_state(self) -> list[MaskedConv2d]:
        return cast(list[MaskedConv2d], list(self.input_to_state))

    def forward(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, image: Image
    ) -> Tensor:
        """2h maps to h, over rows or at a site."""
        if cache is not None and cache.site is not None:
            return self._at_site(x, condition, cache, cache.site, image)
        if cache is None:
            return self._over_rows(x, condition, range(x.shape[2]), None, image)
        state = self._state(x, cache)
        self._take_in_finished_row(condition, cache, state, image)
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
            z, self.state_to_state, border_h, first_c, diagonal_fronts(height, width)
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

    def _take_in_finished_row(
        self, condition: Encoded | None, cache: Cache, state: "_State", image: Image
    ) -> None:
        """Runs both directions over a row that was walked site by site and is complete."""
        row = None if state.sites is None else state.sites.inputs.take()
        if row is not None:
            self._over_rows(
                row, condition, range(cache.rows.start - 1, cache.rows.start), state, image
            )

    def _from_above(
        self, x: Tensor, condition: Encoded | None, cache: Cache, state: "_State", image: Image
    ) -> list[Tensor]:
        """What the row above adds to the first direction's gates, and the second's states there."""
        self._take_in_finished_row(condition, cache, state, image)
        left = state.above[0]
        matrix = self.state_to_state.detach()[0, _ABOVE].T[:, :, None, None]
        gates = functional.conv2d(left, matrix.to(left.dtype))
        bias, _ = self._biases(condition, cache.rows)
        return [gates if bias is None else gates + bias, state.shifted(left)]

    def _at_site(
        self, x: Tensor, condition: Encoded | None, cache: Cache, site: Site, image: Image
    ) -> Tensor:
        state = self._state(x, cache)
        above, right = once_per_row(
            cache, self, lambda: self._from_above(x, condition, cache, state, image)
        )
        if state.sites is None:
            state.sites = self._site_state(x, cache)
        sites, (channel, _, column) = state.sites, site
        sites.inputs.put(site, x)
        gates = self._input_to_state[0].forward(x, cache, onto=above)
        gates.addmm_(sites.before[column], sites.matrices[channel])
        h, c = lstm_cell(gates, sites.carried[column][channel])
        sites.h.put(site, h)
        sites.c.put(site, c)
        return h + right

    def _site_state(self, x: Tensor, cache: Cache) -> "_SiteState":
        colours, size = cache.channels, self.features // cache.channels
        like = x.new_zeros(x.shape[0], size)
        h, c = RowInProgress(like, cache, 1), RowInProgress(like, cache, 1)
        h.values[:, 0] = self.initial_h.detach()[0].view(size, colours).T
        c.values[:, 0] = self.initial_c.detach()[0].view(size, colours).T
        matrix = (
            self.state_to_state.detach()[0, _BEFORE]
            .view(size, colours, -1)
            .transpose(0, 1)
            .flatten(0, 1)
        )
        return _SiteState(
            inputs=RowInProgress(x, cache, 0),
            h=h,
            c=c,
            before=[values.flatten(1) for values in h.values.unbind(1)],
            carried=[values.unbind(1) for values in c.values.unbind(1)],
            matrices=[matrix[:, colour::colours].contiguous() for colour in range(colours)],
        )


@dataclass
class _State:
    """Both directions' states in the row above, (B, h, 1, W) each, and what sites keep."""

    above: tuple[Tensor, Tensor]
    begun: bool = False
    sites: "_SiteState | None" = None

    def shifted(self, like: Tensor) -> Tensor:
        """The second direction's map, one row down, below `above`; zeros in the first row."""
        right = self.above[1]
        return right if self.begun else torch.zeros_like(right, dtype=like.dtype)


@dataclass
class _SiteState:
    """The current row of the input and of the first direction's states.

    Also the states before each column, as views, and a matrix for each colour.
    """

    inputs: RowInProgress
    h: RowInProgress
    c: RowInProgress
    before: list[Tensor]
    carried: list[tuple[Tensor, ...]]
    matrices: list[Tensor]
