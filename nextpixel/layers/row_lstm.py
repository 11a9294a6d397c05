"""Row LSTM: an LSTM from row to row, with convolutions along the row.

Pixel Recurrent Neural Networks, section 3.1. The input-to-state convolution, 1×k with mask "B", is
computed for the whole map at once; the state-to-state convolution, 1×k and unmasked, reads the
states of the row above. A pixel sees a triangle above it, and in its own row k//2 pixels more to
the left with every layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.front.place import Front, colour_blocks
from nextpixel.front.ring import PastRows, Ring
from nextpixel.layers.arithmetic import Arithmetic
from nextpixel.layers.conditioning import ConditionBias, Encoded, Widths
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.layers.residual import Image
from nextpixel.layers.row_scan import row_scan
from nextpixel.layers.scan import lstm_cell
from nextpixel.layers.vertical_conv import unit_variance
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

    arithmetic: Arithmetic | None = None

    def __init__(
        self, features: int, kernel_size: int, *, channels: int, widths: Widths | None
    ) -> None:
        super().__init__()
        check_kernel_size("kernel_size", kernel_size, at_least=3)
        self.features, self.kernel_size = features, kernel_size
        self.input_to_state = MaskedConv2d(
            2 * features, 4 * features, kernel_size, channels=channels, mask_type="B", gates=True
        )
        # A matrix for each tap along the row above.
        self.state_to_state = nn.Parameter(torch.empty(kernel_size, features, 4 * features))
        self.initial_h = nn.Parameter(torch.empty(features))
        self.initial_c = nn.Parameter(torch.empty(features))
        self.reset_parameters()
        self.condition_bias = ConditionBias(widths, 4 * features) if widths is not None else None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random matrices that keep the variance of the states, which are zero at first."""
        size, features = self.kernel_size, self.features
        weight = self.state_to_state.new_empty(4 * features, size, features)
        unit_variance(weight, size * features)
        self.state_to_state.copy_(weight.permute(1, 2, 0))
        self.initial_h.zero_()
        self.initial_c.zero_()

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"{2 * self.features}, {self.features}, kernel_size={self.kernel_size}"

    def forward(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, image: Image
    ) -> Tensor:  # noqa: ARG002
        """2h maps to h, over rows or at a front."""
        if cache is not None and cache.front is not None:
            return self._at_front(x, condition, cache, cache.front)
        bias = self._bias(condition, None if cache is None else cache.rows)
        z = self.input_to_state(x, cache, onto=bias)
        batch, _, _, width = x.shape
        if cache is None:
            h, c = (v.expand(batch, width, -1) for v in (self.initial_h, self.initial_c))
        else:
            above = self._above(x, cache)
            h, c = (v.rows[:, :, 0].transpose(1, 2) for v in above)
        y, last = row_scan(z, self.state_to_state, h, c, self.arithmetic)
        if cache is not None:
            above[0].rows, above[1].rows = y[:, :, -1:], last.transpose(1, 2)[:, :, None]
        return y

    def _bias(self, condition: Encoded | None, rows: range | None) -> Tensor | None:
        """What a condition adds to the gates."""
        if self.condition_bias is None or condition is None:
            return None
        return self.condition_bias(condition, rows)  # type: ignore[no-any-return]

    def _above(self, like: Tensor, cache: Cache) -> tuple[PastRows, PastRows]:
        """States and cell states of the row above."""
        return cache.state(
            self,
            lambda: (
                self._initial(self.initial_h, like, cache),
                self._initial(self.initial_c, like, cache),
            ),
        )

    def _initial(self, parameter: Tensor, like: Tensor, cache: Cache) -> PastRows:
        rows = parameter.detach().to(like.dtype).view(1, -1, 1, 1)
        above = PastRows(rows.expand(cache.batch, -1, 1, cache.width), 1)
        above.rows += rows
        return above

    def _at_front(self, x: Tensor, condition: Encoded | None, cache: Cache, front: Front) -> Tensor:
        state = front.state(self, lambda: self._front_state(x, cache, front))
        channel = front.channel
        above = front.once(self, lambda: self._from_above(condition, front, state))
        gates = self.input_to_state(x, cache, onto=front.of_colour(above))
        carried = front.of_colour(state.c.window(1, 0, 0))
        h, c = (front.pixel((self, name), x.shape[1] // 2) for name in ("h", "c"))
        lstm_cell(front, gates, carried, h, c, self.arithmetic)
        state.h.put(h, channel)
        state.c.put(c, channel)
        return h

    def _from_above(self, condition: Encoded | None, front: Front, state: "_FrontState") -> Tensor:
        """What the row above and the condition add to the gates, (lanes, 4h), colour by colour."""
        reach = self.kernel_size // 2
        gates = front.empty((self, "gates"), 4 * self.features)
        window = state.h.window(1, -reach, reach)
        if self.condition_bias is None or condition is None:
            front.run(torch.mm, window, state.weight, out=gates)
        else:
            bias = self.condition_bias.at_front(condition, front, front.colours)
            front.run(torch.addmm, bias, window, state.weight, out=gates)
        return gates

    def _front_state(self, x: Tensor, cache: Cache, front: Front) -> "_FrontState":
        colours, width = front.colours, self.features // front.colours
        reach = self.kernel_size // 2
        weight = self.state_to_state.detach().to(x.dtype)
        order = colour_blocks(4 * self.features, colours, weight.device)
        weight = (
            torch.unflatten(weight, 1, (width, colours)).transpose(1, 2).flatten(0, 2)[:, order]
        )
        h, c = self._above(x, cache)
        return _FrontState(
            Ring(front, colours, width, before=reach, after=0, above=1, past=h),
            Ring(front, colours, width, above=1, past=c),
            front.matrix(weight),
        )


@dataclass
class _FrontState:
    """States and cell states of the rows in progress, and the matrix of the row above."""

    h: Ring
    c: Ring
    weight: Tensor
