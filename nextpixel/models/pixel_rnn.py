"""PixelCNN, Row LSTM and Diagonal BiLSTM (Pixel Recurrent Neural Networks, van den Oord et al.,
2016).

One plan (section 3.5 and table 1): a k×k convolution with mask "A" to 2h maps, residual blocks
around layers of h maps, and a head of two 1×1 convolutions after ReLUs, all with mask "B". The
three models differ in the layer.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.condition_values import ValuesLike
from nextpixel.conditions import ConditionLike
from nextpixel.layers.diagonal_lstm import DiagonalBiLSTMLayer
from nextpixel.layers.heads import Distribution
from nextpixel.layers.masked_conv import FirstConv2d
from nextpixel.layers.masks import check_kernel_size
from nextpixel.layers.residual import ConvolutionalLayer, ResidualBlock
from nextpixel.layers.row_lstm import RowLSTMLayer
from nextpixel.models.core import AutoregressiveModel

__all__ = ["DiagonalBiLSTM", "PixelCNN", "PixelRNN", "RowLSTM"]


class PixelRNN(AutoregressiveModel):
    """What the three models of the paper share.

    Args:
        channels: number of colours C of an image; any number.
        levels: number of values of a sub-pixel.
        features: h, the maps of a layer, a multiple of `channels` (for head "logistic" any number);
            between layers there are 2h.
        layers: number of residual blocks.
        kernel_size: k of the layers' convolutions, odd.
        condition: None, `ClassCondition(n)`, `VectorCondition(n)`, `MapCondition(…)`, or a tuple of
            them: a bias of every layer's pre-activation.
        first_kernel_size: side of the first convolution, odd, at least 3; the paper's is 7.
        head_features: width of the head, a multiple of `channels`; None takes `2·features`.
        residual: whether blocks add their input to their output.
        skip: whether every layer also feeds the head directly, through a 1×1 convolution.
        dropout: share of every layer's output values dropped in training.
        head: "softmax", "bernoulli" or "logistic"; None takes "bernoulli" for two levels, otherwise
            "softmax".
        position_waves: how many cosine waves along each side tell every layer where in the image a
            pixel is; 0 for none, as published.
        value_features: for values that are names, such as codes: how many learned features each
            becomes; None for amounts.

    Raises:
        ValueError: a width is no multiple of `channels`, a kernel size is even, or another value is
            out of range.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        levels: int = 256,
        features: int = 32,
        layers: int = 7,
        kernel_size: int = 3,
        condition: ConditionLike = None,
        first_kernel_size: int = 7,
        head_features: int | None = None,
        residual: bool = True,
        skip: bool = False,
        dropout: float = 0.0,
        head: str | None = None,
        position_waves: int = 0,
        value_features: int | None = None,
    ) -> None:
        super().__init__(
            channels=channels,
            levels=levels,
            condition=condition,
            head=head,
            position_waves=position_waves,
            value_features=value_features,
        )
        self._check_layers(features, layers, dropout)
        check_kernel_size("first_kernel_size", first_kernel_size, at_least=3)
        check_kernel_size("kernel_size", kernel_size, at_least=3)
        self.features, self.layers, self.kernel_size = features, layers, kernel_size
        self.first_kernel_size, self.residual, self.skip, self.dropout = (
            first_kernel_size,
            residual,
            skip,
            dropout,
        )

        self.first = FirstConv2d(
            self.inputs, 2 * features, first_kernel_size, channels=self.colours
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(
                self._layer(index),
                features,
                channels=self.colours,
                residual=residual,
                skip=skip,
                dropout=dropout,
            )
            for index in range(layers)
        )
        self._add_head(2 * features, head_features)

    @abstractmethod
    def _layer(self, index: int) -> nn.Module:
        """The layer of block `index`, from 2h to h maps."""

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        own = (
            "features",
            "layers",
            "kernel_size",
            "first_kernel_size",
            "head_features",
            "residual",
            "skip",
            "dropout",
        )
        return self._core_config() | {name: getattr(self, name) for name in own}

    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel given its past; see `AutoregressiveModel.forward`."""
        if cache is None:
            self.check(x, condition)
        encoded = self._encoded(x, condition, cache)
        here = (
            self._rows(x, cache)
            if cache is None or cache.site is None
            else self._previous(x, cache)
        )
        y, skips = self.first(here, lambda: self._rows_above(x, cache), cache), None
        image = lambda rows: self._centre(x[:, :, rows.start : rows.stop])  # noqa: E731
        for block in cast(Iterable[ResidualBlock], self.blocks):
            y, skips = self._layer_pass(block, y, skips, encoded, cache, image)
        return self._head(y, skips, cache)


class PixelCNN(PixelRNN):
    """Masked convolutions in residual blocks (sections 3.3 and 3.5): a bounded field with a blind
    spot.

    With kernels of 3 a pixel sees, d rows up, only columns up to d to its right (2 more through the
    7×7): about a quarter of the past stays unseen, whatever the depth. Kernels of k see k // 2
    times as far to the right; `GatedPixelCNN` has no such gap. The paper's CIFAR-10 model: 15
    layers, features 128, head_features 1024.

    Args:
        gated: whether each layer's k×k convolution ends in a gate in place of a ReLU: what
            `GatedPixelCNN` adds, but for its second stack. Not in the papers; it tells apart what
            gates and the blind spot are worth.
        **options: all others as for `PixelRNN`.

    Example:
        >>> import torch
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> PixelCNN(levels=4, features=8, layers=2)(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    def __init__(self, *, gated: bool = False, **options: Any) -> None:
        self.gated = gated
        super().__init__(**options)

    def _layer(self, index: int) -> nn.Module:  # noqa: ARG002
        return ConvolutionalLayer(
            self.features,
            self.kernel_size,
            channels=self.colours,
            widths=self.widths,
            gated=self.gated,
        )

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        return super().config() | {"gated": self.gated}


class RowLSTM(PixelRNN):
    """LSTMs from row to row (section 3.1): a triangle of unbounded height, a bounded field along
    the pixel's own row.

    L layers with kernels of 3 after a 7×7 convolution see 3 + L pixels to the left. Arguments as
    for `PixelRNN`; the paper's CIFAR-10 model: 12 layers, features 128, head_features 1024.

    Example:
        >>> import torch
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> RowLSTM(levels=4, features=8, layers=2)(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    def _layer(self, index: int) -> nn.Module:  # noqa: ARG002
        return RowLSTMLayer(
            self.features, self.kernel_size, channels=self.colours, widths=self.widths
        )


class DiagonalBiLSTM(PixelRNN):
    """LSTMs along diagonals in two directions (section 3.2): all of the past, but for one pixel.

    As published, the last pixel of the row above is unseen, of several colours its last colour
    (unless the first convolution reaches it). The paper's MNIST
    model: 7 layers, features 16, head_features 32; for CIFAR-10 12 layers, features 128,
    head_features 1024.

    Args:
        complete_context: whether to close that gap: see `layers.diagonal_lstm`.
        kernel_size: side of the first convolution, the only one wider than the recurrence's fixed 1
            and 2; 7 if None.
        first_kernel_size: the same by its other name.
        **options: all others as for `PixelRNN`.

    Example:
        >>> import torch
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> DiagonalBiLSTM(levels=4, features=8, layers=2)(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    def __init__(
        self,
        *,
        complete_context: bool = False,
        kernel_size: int | None = None,
        first_kernel_size: int | None = None,
        **options: Any,
    ) -> None:
        if None not in (kernel_size, first_kernel_size) and kernel_size != first_kernel_size:
            both = f"kernel_size (={kernel_size}) and first_kernel_size (={first_kernel_size})"
            raise ValueError(
                f"{both} both name the first convolution of a DiagonalBiLSTM; give one of them"
            )
        given = kernel_size if first_kernel_size is None else first_kernel_size
        side = 7 if given is None else given
        self._complete_context = complete_context
        super().__init__(kernel_size=side, first_kernel_size=side, **options)
        self.complete_context = complete_context

    def _layer(self, index: int) -> nn.Module:
        return DiagonalBiLSTMLayer(
            self.features,
            channels=self.colours,
            widths=self.widths,
            image_channels=self.inputs if self._complete_context and index == 0 else 0,
        )

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        return super().config() | {"complete_context": self.complete_context}
