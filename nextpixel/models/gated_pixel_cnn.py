"""Gated PixelCNN.

Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), section 2.
"""

from collections.abc import Iterable
from functools import partial
from typing import cast

from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.front.skew import Reach
from nextpixel.layers.conditioning import Encoded, Widths
from nextpixel.layers.gated import GatedBlock
from nextpixel.models.core import AutoregressiveModel, Run
from nextpixel.settings.networks import GatedPixelCNNSettings, keywords_of

__all__ = ["GatedPixelCNN"]


class GatedPixelCNN(AutoregressiveModel):
    """Two stacks of gated convolutions that together see all of the past within reach.

    With k×k kernels and L layers, a sub-pixel sees L·(k//2) pixels to its left in its own row, and
    as many to either side in each of L·(k//2) + 1 rows above (plus what a larger first kernel
    adds): a rectangle without a blind spot.

    Where the paper leaves it open: the head is that of the PixelRNN paper, ReLU–1×1–ReLU–1×1; the
    first layer may have a larger kernel, as there (7×7); conditions enter both stacks.

    The keywords are the fields of `settings.networks.GatedPixelCNNSettings`, with their defaults.

    Raises:
        UsageError: a keyword is out of range, such as a width that is not a multiple of `channels`.

    Example:
        >>> import torch
        >>> model = GatedPixelCNN(channels=1, levels=4, features=8, layers=2)
        >>> x = torch.randint(4, (2, 1, 5, 7))
        >>> model(x).log_prob(x).shape
        torch.Size([2, 1, 5, 7])
    """

    settings: GatedPixelCNNSettings
    blocks: nn.ModuleList

    @keywords_of(GatedPixelCNNSettings)
    def __init__(self, settings: GatedPixelCNNSettings) -> None:
        super().__init__(settings, partial(_layers, settings))

    @property
    def reach(self) -> Reach:
        """A rectangle: every layer sees k//2 columns and rows further."""
        assert self.settings.first_kernel_size is not None
        first, others = self.settings.first_kernel_size // 2, self.settings.kernel_size // 2
        far = first + (self.settings.layers - 1) * others
        return Reach(far + 1, far, max(first, others), (far + 1, far))

    def features(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> tuple[Tensor, Tensor | None]:
        """The vertical stack, once for all colours, then the horizontal stack."""
        vertical = partial(self._vertical, x, condition, cache, run)
        if cache is None or cache.front is None:
            links = vertical()
        else:
            links = [cache.front.of_colour(m) for m in cache.front.once(self, vertical)]
        h, skips = self.values.here(x, cache), None
        for block, link in zip(cast(Iterable[GatedBlock], self.blocks), links, strict=True):
            h, skips = run(block, h, condition, cache, link, skips)
        return h, skips

    def _vertical(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> list[Tensor]:
        """What each layer's horizontal stack adds to its convolution."""
        v: Tensor | None = self.values.above(x, cache, ahead=self.reach.lead)
        links = []
        for block in cast(Iterable[GatedBlock], self.blocks):
            assert v is not None  # only the last layer has no vertical output
            v, link = run(block, v, condition, cache)
            links.append(link)
        return links


def _layers(
    settings: GatedPixelCNNSettings, inputs: int, widths: Widths | None
) -> dict[str, nn.Module]:
    assert settings.first_kernel_size is not None
    blocks = [
        GatedBlock(
            settings.features if layer else inputs,
            settings.features,
            settings.kernel_size if layer else settings.first_kernel_size,
            channels=settings.colours,
            widths=widths,
            first=layer == 0,
            last=layer == settings.layers - 1,
            skip=settings.skip,
            dropout=settings.dropout,
        )
        for layer in range(settings.layers)
    ]
    return {"blocks": nn.ModuleList(blocks)}
