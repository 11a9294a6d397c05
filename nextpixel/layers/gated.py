"""The gated layer with two stacks and no blind spot.

Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), section 2.1 to 2.3
and figure 2::

    vertical in ───► k×k conv (F → 2F) ─┬─ + V·h ────────► gate ─► vertical out
                                        └─► 1×1 (2F → 2F) ─┐
    horizontal in ─► 1×k conv (F → 2F) ──────────────────(+)─ + V·h ─► gate ─► 1×1 ─(+)─► out

The link leaves the vertical stack before its gate. Only the horizontal stack has a residual: the
last sum adds its input. Nothing flows from the horizontal to the vertical stack. The vertical input
is one row behind: at row r it knows only rows above r, so every tap of the vertical convolution and
of the link is past, for all colours.
"""

from collections.abc import Hashable

import torch
from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.front.place import Front
from nextpixel.front.ring import Ring
from nextpixel.layers.arithmetic import Arithmetic
from nextpixel.layers.conditioning import ConditionBias, Encoded, Widths
from nextpixel.layers.dropout import dropout
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.layers.vertical_conv import VerticalConv2d
from nextpixel.tracing import transformed

__all__ = ["GatedBlock", "gate"]


def gate(y: Tensor, front: Front | None = None, key: Hashable = None) -> Tensor:
    """tanh(a) ⊙ σ(b), where a and b are the two halves of the channels of y (equation 2).

    At a front it overwrites y, and writes its result to a place that is kept under `key`.
    """
    a, b = y.chunk(2, dim=1)
    if front is not None:
        gated = front.pixel((key, "gate"), a.shape[1])
        front.run(torch.sigmoid, b, out=gated)
        front.run(a.tanh_)
        front.run(gated.mul_, a)
        return gated
    # Over whole maps, strided halves cost two to three times what contiguous copies do.
    if y.ndim == 4 and not transformed():
        channels_last = y.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if channels_last else torch.contiguous_format
        a, b = a.contiguous(memory_format=order), b.contiguous(memory_format=order)
    return torch.tanh(a) * torch.sigmoid(b)


def _folded_gate(y: Tensor, into: Tensor, front: Front) -> Tensor:
    """tanh(a) ⊙ σ(b) at a front, where the two halves of y are -2a and b; it overwrites y.

    As tanh(a) = 1 - 2σ(-2a), it is σ(b) - 2 σ(-2a) σ(b): two operations, of which the slow one
    takes a quarter of the time of a tanh. The factor -2 is in the weights before it.
    """
    a, b = y.chunk(2, dim=1)
    front.run(y.sigmoid_)
    front.run(torch.addcmul, b, a, b, value=-2, out=into)
    return into


class GatedBlock(nn.Module):
    """One layer of both stacks.

    Args:
        inputs: feature maps of both inputs: `features`, or the image's channels in the first layer.
        features: feature maps F of both outputs.
        kernel_size: k, odd.
        channels: number of colours C that are predicted one after another.
        widths: of what the layer is conditioned on, or None; each stack has a bias V·h of its own.
        first: the first layer reads the image: mask "A" and no residual.
        last: the last layer's vertical output has no reader and is not computed.
        skip: whether the layer also sends a 1×1 convolution of its gated maps to the output.
        dropout: share of gated features that are dropped in training.
    """

    arithmetic: Arithmetic | None = None

    def __init__(
        self,
        inputs: int,
        features: int,
        kernel_size: int,
        *,
        channels: int,
        widths: Widths | None,
        first: bool,
        last: bool,
        skip: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.residual, self.last = not first, last
        self.vertical_conv = VerticalConv2d(inputs, 2 * features, kernel_size)
        self.link = VerticalConv2d(2 * features, 2 * features, 1)
        # Its bias is the link's: the two maps are added.
        self.horizontal_conv = MaskedConv2d(
            inputs,
            2 * features,
            kernel_size,
            channels=channels,
            mask_type="A" if first else "B",
            bias=False,
        )
        self.horizontal_conv.places = None
        # Where there is a residual, a bias would only repeat that of the first layer.
        self.out = MaskedConv2d(features, features, 1, channels=channels, mask_type="B", bias=first)
        self.skip = (
            MaskedConv2d(features, features, 1, channels=channels, mask_type="B", bias=False)
            if skip
            else None
        )
        self.vertical_bias = (
            ConditionBias(widths, 2 * features) if widths is not None and not last else None
        )
        self.horizontal_bias = ConditionBias(widths, 2 * features) if widths is not None else None
        self.dropout = dropout

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        inputs, features = self.vertical_conv.weight.shape[1], self.out.weight.shape[1]
        return f"{inputs}, {features}, residual={self.residual}, dropout={self.dropout}"

    def forward(
        self,
        x: Tensor,
        condition: Encoded | None,
        cache: Cache | None,
        link: Tensor | None = None,
        skips: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """One of the stacks, over rows or at a front: a pass calls a block once for each.

        Without a link it is the vertical stack: to its output (B, F, rows, W), None in the last
        layer, and the link (B, 2F, rows, W), which the horizontal stack adds to its convolution and
        which includes the condition's bias. With a link it is the horizontal stack: to its output
        (B, F, rows, W), and the sum of skips so far.
        """
        if link is None:
            return self._vertical(x, condition, cache)
        return self._horizontal(x, link, skips, cache)

    def _vertical(
        self, v: Tensor, condition: Encoded | None, cache: Cache | None
    ) -> tuple[Tensor | None, Tensor]:
        if cache is not None and cache.front is not None:
            return self._vertical_at_front(v, condition, cache, cache.front)
        rows = None if cache is None else cache.rows
        y = self.vertical_conv(v, cache)
        link = self.link(y, cache)
        if self.horizontal_bias is not None and condition is not None:
            link = link + self.horizontal_bias(condition, rows)
        if self.last:
            return None, link
        if self.vertical_bias is not None and condition is not None:
            y = y + self.vertical_bias(condition, rows)
        return self._gate(y), link

    def _vertical_at_front(
        self, v: Tensor, condition: Encoded | None, cache: Cache, front: Front
    ) -> tuple[Tensor | None, Tensor]:
        """From a column ahead of the front; the link waits until the front is there."""
        colours = self.horizontal_conv.channels
        if self.arithmetic is None:
            front.state((self, "folded"), lambda: self._fold(front))
        y = self.vertical_conv(v, cache)
        width, ahead = y.shape[1], front.ahead
        waiting = front.state((self, "link"), lambda: Ring(front, 1, width, after=ahead))
        into = None if front.by_feature else waiting.place
        link = self.link(y, cache, colours=colours, into=into)
        if self.horizontal_bias is not None and condition is not None:
            front.run(link.add_, self.horizontal_bias.at_front(condition, front, colours))
        if into is None:
            front.run(waiting.place.copy_, link)
        link = waiting.window(0, 0, 0)
        if self.last:
            return None, link
        if self.vertical_bias is not None and condition is not None:
            front.run(y.add_, self.vertical_bias.at_front(condition, front, 1))
        return self._gate_at_front(y, front.empty((self, "gate"), width // 2), front), link

    def _fold(self, front: Front) -> bool:
        """Prepares weights for `_folded_gate`: see there."""
        factors = torch.ones_like(self.vertical_conv.bias.detach())
        factors[: len(factors) // 2] = -2
        front.fold(self.link, inputs=1 / factors, outputs=factors)
        for layer in (
            self.vertical_conv,
            self.horizontal_conv,
            self.vertical_bias,
            self.horizontal_bias,
        ):
            if layer is not None:
                front.fold(layer, outputs=factors)
        return True

    def _gate_at_front(self, y: Tensor, into: Tensor, front: Front) -> Tensor:
        if self.arithmetic is None:
            return _folded_gate(y, into, front)
        front.run(self.arithmetic.gate, y, into)
        return into

    def _gate(self, y: Tensor) -> Tensor:
        if self.arithmetic is not None:
            return self.arithmetic.gate(y)
        return dropout(gate(y), self.dropout) if self.training else gate(y)

    def _horizontal(
        self, h: Tensor, link: Tensor, skips: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, Tensor | None]:
        y = self.horizontal_conv(h, cache, onto=link)
        front = None if cache is None else cache.front
        if front is None:
            gated = self._gate(y)
        else:
            gated = self._gate_at_front(y, front.pixel((self, "gate"), y.shape[1] // 2), front)
        if self.skip is not None:
            skips = self.skip(gated, cache, onto=skips)
        return self.out(gated, cache, onto=h if self.residual else None), skips
