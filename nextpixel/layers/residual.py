"""How the layers of PixelCNN, Row LSTM and Diagonal BiLSTM are connected.

Pixel Recurrent Neural Networks, section 3.3 and figure 5::

    x (2h maps) ─► layer ─► h maps ─┬─► 1×1, to 2h maps ─(+ x)─► next layer
                                    └─► 1×1 ─► summed over layers, to the head

Residual connections are the (+ x); skip connections are the second branch. A model has either, both
or neither.
"""

from collections.abc import Callable

from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.front.place import Front, relu
from nextpixel.layers.arithmetic import Arithmetic
from nextpixel.layers.conditioning import ConditionBias, Encoded, Widths
from nextpixel.layers.dropout import dropout
from nextpixel.layers.gated import gate
from nextpixel.layers.masked_conv import MaskedConv2d

__all__ = ["ConvolutionalLayer", "Image", "ResidualBlock"]

Image = Callable[[range], Tensor]
"""Gives rows of the image, scaled, (B, C, rows, W)."""


class ResidualBlock(nn.Module):
    """A layer from 2h to h maps with its connections.

    Args:
        layer: takes (x, condition, cache, image) to h maps, over rows or at a front.
        features: h.
        channels: number of colours C that are predicted one after another.
        residual: whether to add the input.
        skip: whether to also feed the head.
        dropout: share of the layer's output values that are dropped in training.
    """

    def __init__(
        self,
        layer: nn.Module,
        features: int,
        *,
        channels: int,
        residual: bool,
        skip: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layer, self.residual = layer, residual
        # With a residual connection, a bias would only repeat that of the first layer.
        self.up = MaskedConv2d(
            features, 2 * features, 1, channels=channels, mask_type="B", bias=not residual
        )
        self.skip = (
            MaskedConv2d(features, 2 * features, 1, channels=channels, mask_type="B", bias=False)
            if skip
            else None
        )
        self.dropout = dropout

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"{self.up.weight.shape[0]}, residual={self.residual}"

    def forward(
        self,
        x: Tensor,
        skips: Tensor | None,
        condition: Encoded | None,
        cache: Cache | None,
        image: Image,
    ) -> tuple[Tensor, Tensor | None]:
        """The next layer's input, and the sum of skips so far."""
        y = self.layer(x, condition, cache, image)
        if self.training:
            y = dropout(y, self.dropout)
        if self.skip is not None:
            skips = self.skip(y, cache, onto=skips)
        return self.up(y, cache, onto=x if self.residual else None), skips


class ConvolutionalLayer(nn.Module):
    """PixelCNN's layer: ReLU, 1×1 to h maps, ReLU, k×k with mask "B", ReLU.

    A condition biases the k×k convolution.

    Args:
        features: h; the input has 2h maps.
        kernel_size: k, odd.
        channels: number of colours C that are predicted one after another.
        widths: of what the model is conditioned on, or None.
        gated: whether the k×k convolution has 2h maps and ends in a gate, as in Gated PixelCNN,
            instead of a ReLU.
    """

    arithmetic: Arithmetic | None = None

    def __init__(
        self,
        features: int,
        kernel_size: int,
        *,
        channels: int,
        widths: Widths | None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.gated, outputs = gated, 2 * features if gated else features
        self.down = MaskedConv2d(2 * features, features, 1, channels=channels, mask_type="B")
        self.conv = MaskedConv2d(
            features,
            outputs,
            kernel_size,
            channels=channels,
            mask_type="B",
            rows_above=kernel_size // 2,
        )
        if gated:
            self.conv.places = None
        self.condition_bias = ConditionBias(widths, outputs) if widths is not None else None

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        features = self.down.weight.shape[0]
        return f"{2 * features}, {features}, gated={self.gated}"

    def forward(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, image: Image
    ) -> Tensor:  # noqa: ARG002
        """2h maps to h, over rows or at a front."""
        front = None if cache is None else cache.front
        y = relu(self.down(relu(x, front, self), cache), front)
        bias = None
        if self.condition_bias is not None and condition is not None:
            bias = self._bias(self.condition_bias, condition, cache)
        y = self.conv(y, cache, onto=bias)
        return self._gate(y, front) if self.gated else relu(y, front)

    def _gate(self, y: Tensor, front: Front | None) -> Tensor:
        if self.arithmetic is None:
            return gate(y, front, self)
        if front is None:
            return self.arithmetic.gate(y)
        gated = front.pixel((self, "gate"), y.shape[1] // 2)
        front.run(self.arithmetic.gate, y, gated)
        return gated

    def _bias(self, bias: ConditionBias, condition: Encoded, cache: Cache | None) -> Tensor:
        if cache is not None and cache.front is not None:
            front = cache.front
            return front.of_colour(bias.at_front(condition, front, front.colours))
        return bias(condition, None if cache is None else cache.rows)  # type: ignore[no-any-return]
