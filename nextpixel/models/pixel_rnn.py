"""PixelCNN, Row LSTM and Diagonal BiLSTM.

Pixel Recurrent Neural Networks (van den Oord et al., 2016), section 3.5 and table 1. All have one
architecture: a k×k convolution with mask "A" to 2h maps, residual blocks around layers of h maps,
and a head of two 1×1 convolutions after ReLUs, all with mask "B". The three models differ in the
layer.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.front.skew import Reach
from nextpixel.layers.conditioning import Encoded, Widths
from nextpixel.layers.diagonal_lstm import DiagonalBiLSTMLayer
from nextpixel.layers.inputs import ImageInput
from nextpixel.layers.masked_conv import FirstConv2d
from nextpixel.layers.residual import ConvolutionalLayer, ResidualBlock
from nextpixel.layers.row_lstm import RowLSTMLayer
from nextpixel.models.core import AutoregressiveModel, Run
from nextpixel.settings.networks import (
    DiagonalBiLSTMSettings,
    PixelCNNSettings,
    RowLSTMSettings,
    keywords_of,
)

__all__ = ["DiagonalBiLSTM", "PixelCNN", "RowLSTM"]


class PixelCNN(AutoregressiveModel):
    """Masked convolutions in residual blocks (sections 3.3 and 3.5).

    The field is bounded and has a blind spot. With kernels of 3 a pixel sees, d rows up, only
    columns up to d to its right (2 more through the 7×7): about a quarter of the past stays unseen,
    whatever the depth. Kernels of k see k // 2 times as far to the right; `GatedPixelCNN` has no
    such gap. The paper's CIFAR-10 model: 15 layers, features 128, head_features 1024.

    The keywords are the fields of `settings.networks.PixelCNNSettings`, with their defaults.
    `gated` is not in the papers: it adds the gates of `GatedPixelCNN` without its second stack, and
    so tells apart what gates and the blind spot are worth.

    Raises:
        UsageError: a keyword is out of range, such as a width that is not a multiple of `channels`.

    Example:
        >>> import torch
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> PixelCNN(levels=4, features=8, layers=2)(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    settings: PixelCNNSettings
    first: FirstConv2d
    blocks: nn.ModuleList

    @keywords_of(PixelCNNSettings)
    def __init__(self, settings: PixelCNNSettings) -> None:
        def layer(index: int, inputs: int, widths: Widths | None) -> nn.Module:  # noqa: ARG001
            return ConvolutionalLayer(
                settings.features,
                settings.kernel_size,
                channels=settings.colours,
                widths=widths,
                gated=settings.gated,
            )

        super().__init__(settings, partial(_layers, settings, layer))

    @property
    def reach(self) -> Reach:
        """A trapezium: every layer sees k//2 columns and rows further."""
        first, others = self.settings.first_kernel_size // 2, self.settings.kernel_size // 2
        far, beside = first + self.settings.layers * others, max(first, others)
        return Reach(beside + 1, first, beside, (far, far))

    def features(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> tuple[Tensor, Tensor | None]:
        """The first convolution and the residual blocks."""
        return _features(self.values, self.first, self.blocks, x, condition, cache, run)


class RowLSTM(AutoregressiveModel):
    """LSTMs from row to row (section 3.1).

    They see a triangle of unbounded height, and a bounded field along the pixel's own row: L layers
    with kernels of 3 after a 7×7 convolution see 3 + L pixels to the left. The paper's CIFAR-10
    model: 12 layers, features 128, head_features 1024.

    The keywords are the fields of `settings.networks.RowLSTMSettings`, with their defaults.

    Raises:
        UsageError: a keyword is out of range, such as a width that is not a multiple of `channels`.

    Example:
        >>> import torch
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> RowLSTM(levels=4, features=8, layers=2)(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    settings: RowLSTMSettings
    first: FirstConv2d
    blocks: nn.ModuleList

    @keywords_of(RowLSTMSettings)
    def __init__(self, settings: RowLSTMSettings) -> None:
        def layer(index: int, inputs: int, widths: Widths | None) -> nn.Module:  # noqa: ARG001
            return RowLSTMLayer(
                settings.features,
                settings.kernel_size,
                channels=settings.colours,
                widths=widths,
            )

        super().__init__(settings, partial(_layers, settings, layer))

    @property
    def reach(self) -> Reach:
        """All rows above, from row to row a few columns further."""
        first, others = self.settings.first_kernel_size // 2, self.settings.kernel_size // 2
        beside = max(first, others)
        return Reach(beside + 1, first, beside, None)

    def features(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> tuple[Tensor, Tensor | None]:
        """The first convolution and the residual blocks."""
        return _features(self.values, self.first, self.blocks, x, condition, cache, run)


class DiagonalBiLSTM(AutoregressiveModel):
    """LSTMs along diagonals in two directions (section 3.2): all of the past but one pixel.

    As published, the last pixel of the row above is unseen, with several colours its last colour
    (unless the first convolution reaches it); `complete_context` closes that gap. The paper's MNIST
    model: 7 layers, features 16, head_features 32; for CIFAR-10 12 layers, features 128,
    head_features 1024.

    The keywords are the fields of `settings.networks.DiagonalBiLSTMSettings`, with their defaults.

    Raises:
        UsageError: a keyword is out of range, such as a width that is not a multiple of `channels`.

    Example:
        >>> import torch
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> DiagonalBiLSTM(levels=4, features=8, layers=2)(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    settings: DiagonalBiLSTMSettings
    first: FirstConv2d
    blocks: nn.ModuleList

    @keywords_of(DiagonalBiLSTMSettings)
    def __init__(self, settings: DiagonalBiLSTMSettings) -> None:
        def layer(index: int, inputs: int, widths: Widths | None) -> nn.Module:
            return DiagonalBiLSTMLayer(
                settings.features,
                channels=settings.colours,
                widths=widths,
                image_channels=inputs if settings.complete_context and index == 0 else 0,
            )

        super().__init__(settings, partial(_layers, settings, layer))

    @property
    def reach(self) -> Reach:
        """All of the rows above, to their last column."""
        assert self.settings.first_kernel_size is not None
        first = self.settings.first_kernel_size // 2
        return Reach(None, first, first, None)

    def features(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> tuple[Tensor, Tensor | None]:
        """The first convolution and the residual blocks."""
        return _features(self.values, self.first, self.blocks, x, condition, cache, run)


def _layers(
    settings: PixelCNNSettings | RowLSTMSettings | DiagonalBiLSTMSettings,
    layer: Callable[[int, int, Widths | None], nn.Module],
    inputs: int,
    widths: Widths | None,
) -> dict[str, nn.Module]:
    """The first convolution and the blocks, each around the layer of its index."""
    assert settings.first_kernel_size is not None
    first = FirstConv2d(
        inputs, settings.maps, settings.first_kernel_size, channels=settings.colours
    )
    blocks = [
        ResidualBlock(
            layer(index, inputs, widths),
            settings.features,
            channels=settings.colours,
            residual=settings.residual,
            skip=settings.skip,
            dropout=settings.dropout,
        )
        for index in range(settings.layers)
    ]
    return {"first": first, "blocks": nn.ModuleList(blocks)}


def _features(
    values: ImageInput,
    first: FirstConv2d,
    blocks: nn.ModuleList,
    x: Tensor,
    condition: Encoded | None,
    cache: Cache | None,
    run: Run,
) -> tuple[Tensor, Tensor | None]:
    def image(rows: range) -> Tensor:
        return values(x[:, :, rows.start : rows.stop])  # type: ignore[no-any-return]

    def above() -> Tensor:
        return values.above(x, cache, ahead=first.above.columns_beside)

    y, skips = first(values.here(x, cache), above, cache), None
    for block in cast(Iterable[ResidualBlock], blocks):
        y, skips = run(block, y, skips, condition, cache, image)
    return y, skips
