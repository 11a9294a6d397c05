"""Gated PixelCNN (Conditional Image Generation with PixelCNN Decoders, van den Oord et al., 2016)."""

from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from nextpixel.cache import Cache, once_per_row
from nextpixel.condition_values import ValuesLike
from nextpixel.conditions import ConditionLike
from nextpixel.layers.conditioning import Encoded
from nextpixel.layers.gated import GatedBlock
from nextpixel.layers.heads import Distribution
from nextpixel.models.core import AutoregressiveModel

__all__ = ["GatedPixelCNN"]


class GatedPixelCNN(AutoregressiveModel):
    """A vertical and a horizontal stack of gated convolutions that together see all of the past
    within reach.

    With k×k kernels and L layers, a sub-pixel sees L·(k//2) pixels to its left in its own row, and
    as many to either side in each of L·(k//2) + 1 rows above (plus what a larger first kernel
    adds): a rectangle, no blind spot.

    Where the paper is silent: the head is that of the PixelRNN paper, ReLU–1×1–ReLU–1×1; the first
    layer may have a larger kernel, as there (7×7); conditions enter both stacks.

    Args:
        channels: number of colours C of an image; any number.
        levels: number of values of a sub-pixel.
        features: feature maps F per stack, a multiple of `channels` (for head "logistic" any
            number). The paper's ImageNet model: 384.
        layers: number of gated layers, the first included. The paper's ImageNet model: 20.
        kernel_size: k, odd, at least 3. The paper's ImageNet model: 5.
        condition: None, `ClassCondition(n)`, `VectorCondition(n)`, `MapCondition(…)`, or a tuple of
            them.
        first_kernel_size: the first layer's k, odd, at least 3; None takes `kernel_size`.
        head_features: width of the head, a multiple of `channels`; None takes `features`.
        skip: whether every layer also feeds the head directly, through a 1×1 convolution (not in
            the paper's figure).
        dropout: share of gated features dropped in training.
        head: "softmax", "bernoulli" or "logistic" (a discretised mixture, one pass per pixel); None
            takes "bernoulli" for two levels, otherwise "softmax".
        position_waves: how many cosine waves along each side tell every layer where in the image a
            pixel is; 0 for none, as published.
        value_features: for values that are names, such as codes: how many learned features each
            becomes; None for amounts.

    Raises:
        ValueError: a width is no multiple of `channels`, a kernel size is even, or another value is
            out of range.

    Example:
        >>> import torch
        >>> model = GatedPixelCNN(channels=1, levels=4, features=8, layers=2)
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> model(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        levels: int = 256,
        features: int = 48,
        layers: int = 8,
        kernel_size: int = 5,
        condition: ConditionLike = None,
        first_kernel_size: int | None = None,
        head_features: int | None = None,
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
        self.features, self.layers, self.kernel_size = features, layers, kernel_size
        self.first_kernel_size = kernel_size if first_kernel_size is None else first_kernel_size
        self.skip, self.dropout = skip, dropout

        self.blocks = nn.ModuleList(
            GatedBlock(
                features if layer else self.inputs,
                features,
                kernel_size if layer else self.first_kernel_size,
                channels=self.colours,
                widths=self.widths,
                first=layer == 0,
                last=layer == layers - 1,
                skip=skip,
                dropout=dropout,
            )
            for layer in range(layers)
        )
        self._add_head(features, head_features)

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        own = (
            "features",
            "layers",
            "kernel_size",
            "first_kernel_size",
            "head_features",
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
        links = once_per_row(cache, self, lambda: self._vertical(x, encoded, cache))
        h = (
            self._rows(x, cache)
            if cache is None or cache.site is None
            else self._previous(x, cache)
        )
        skips = None
        for block, link in zip(self._gated_blocks, links, strict=True):
            h, skips = self._layer_pass(block.horizontal, h, link, skips, cache)
        return self._head(h, skips, cache)

    @property
    def _gated_blocks(self) -> Iterable[GatedBlock]:
        return cast(Iterable[GatedBlock], self.blocks)

    def _vertical(self, x: Tensor, condition: Encoded | None, cache: Cache | None) -> list[Tensor]:
        """Runs the vertical stack over rows; returns what each layer's horizontal stack adds to its
        convolution.
        """
        v: Tensor | None = self._rows_above(x, cache)
        links = []
        for block in self._gated_blocks:
            assert v is not None  # only the last layer has no vertical output
            v, link = self._layer_pass(block.vertical, v, condition, cache)
            links.append(link)
        return links
