"""Row LSTM: an LSTM from row to row, with convolutions along the row.

Pixel Recurrent Neural Networks, section 3.1. The input-to-state convolution, 1×k with mask "B", is
computed for the whole map at once; the state-to-state convolution, 1×k and unmasked, reads the
states of the row above. A pixel sees a triangle above it, and in its own row k//2 pixels more to
the left with every layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache, RowInProgress, Site, once_per_row
from nextpixel.layers.conditioning import ConditionBias, Encoded, Widths
from nextpixel.layers.masked_conv import MaskedConv2d, unit_variance
from nextpixel.layers.residual import Image
from nextpixel.layers.scan import lstm_cell, lstm_scan, row_fronts
from nextpixel.settings.sizes import check_kernel_size

__all__ = ["RowLSTMLayer"]


class RowLSTMLayer(nn.Module):
    """One layer, from 2h maps to h states.

    Args:
        features: h; the input has 2h maps.
        kernel_size: k of both convolutions, odd, at least 3.
        channels: number of colours C that are predicted one after another.
        widths: of what the model is conditioned on, or None.
    """

    def __init__(
        self, features: int, kernel_size: int, *, channels: int, widths: Widths | None
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size, at_least=3)
        self.features, self.kernel_size = features, kernel_size
        self.input_to_state = MaskedConv2d(
            2 * features, 4 * features, kernel_size, channels=channels, mask_type="B"
        )
        open_forget_gates(self.input_to_state, features)
        # A matrix for each tap along the row above.
        weight = unit_variance(torch.ones(4 * features, kernel_size, features))
        self.state_to_state = nn.Parameter(weight.permute(1, 2, 0).contiguous())
        self.initial_h = nn.Parameter(torch.zeros(features))
        self.initial_c = nn.Parameter(torch.zeros(features))
        self.condition_bias = ConditionBias(widths, 4 * features) if widths is not None else None

    def forward(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, image: Image
    ) -> Tensor:  # noqa: ARG002
        """2h maps to h, over rows or at a site."""
        if cache is not None and cache.site is not None:
            return self._at_site(x, condition, cache, cache.site)
        bias = self._bias(condition, None if cache is None else cache.rows)
        z = self.input_to_state(x, cache, onto=bias)
        batch, _, height, width = x.shape
        if cache is None:
            h, c = (
                v.view(1, 1, -1).expand(width, batch, -1) for v in (self.initial_h, self.initial_c)
            )
        else:
            state = self._state(x, cache)
            h, c = (v[:, :, 0].permute(2, 0, 1) for v in state.finished_row())
        fronts = row_fronts(height, width, self.kernel_size)
        (y,), last = lstm_scan([z], self.state_to_state[None], h[None], c[None], fronts)
        if cache is not None:
            state.above = y[:, :, -1:], last[0].permute(1, 2, 0)[:, :, None]
        return y

    def _bias(self, condition: Encoded | None, rows: range | None) -> Tensor | None:
        """What a condition adds to the gates."""
        if self.condition_bias is None or condition is None:
            return None
        return self.condition_bias(condition, rows)  # type: ignore[no-any-return]

    def _state(self, like: Tensor, cache: Cache) -> "_State":
        shape = (like.shape[0], -1, 1, cache.width)
        initial = self.initial_h.detach(), self.initial_c.detach()
        h, c = (v.to(like.dtype).view(1, -1, 1, 1).expand(shape) for v in initial)
        return cache.state(self, lambda: _State((h, c)))

    def _from_above(self, condition: Encoded | None, cache: Cache, state: "_State") -> list[Tensor]:
        """What the row above contributes to the gates of the current row, and its cell states."""
        h, c = state.finished_row()
        kernel = self.state_to_state.detach().permute(2, 1, 0)[:, :, None]
        gates = functional.conv2d(h, kernel.to(h.dtype), padding=(0, self.kernel_size // 2))
        bias = self._bias(condition, cache.rows)
        return [gates if bias is None else gates + bias, c]

    def _at_site(self, x: Tensor, condition: Encoded | None, cache: Cache, site: Site) -> Tensor:
        state = self._state(x, cache)
        gates, carried = once_per_row(
            cache, self, lambda: self._from_above(condition, cache, state)
        )
        h, c = lstm_cell(self.input_to_state.forward(x, cache, onto=gates), carried)
        if state.rows is None:
            state.rows = RowInProgress(h, cache, 0), RowInProgress(c, cache, 0)
        state.rows[0].put(site, h)
        state.rows[1].put(site, c)
        return h


@dataclass
class _State:
    """States and cell states of the row above, (B, h, 1, W) each, and of the row in progress."""

    above: tuple[Tensor, Tensor]
    rows: tuple[RowInProgress, RowInProgress] | None = None

    def finished_row(self) -> tuple[Tensor, Tensor]:
        """The states above the place where the cache is now."""
        if self.rows is not None:
            h, c = (row.take() for row in self.rows)
            if h is not None and c is not None:
                self.above = h.clone(), c.clone()
        return self.above


def open_forget_gates(input_to_state: MaskedConv2d, features: int) -> None:
    """Lets memory last at first: a bias of one for the second of the gates o, f, i, g.

    The papers do not say how it starts.
    """
    assert input_to_state.bias is not None
    with torch.no_grad():
        input_to_state.bias[features : 2 * features] = 1
