"""The last layers: from the features of a site to the distribution of its value.

ReLU–1×1–ReLU–1×1 with mask "B" (Pixel Recurrent Neural Networks, table 1), then one of the
distributions in `layers.heads`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nextpixel.cache import Cache
from nextpixel.front.place import relu
from nextpixel.layers.arithmetic import FEATURES, LOCATIONS
from nextpixel.layers.distributions import Checked
from nextpixel.layers.heads import HEADS
from nextpixel.layers.masked_conv import MaskedConv2d

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """Which distribution a model predicts, and how its last two convolutions make it.

    Attributes:
        name: of the distribution, see `layers.heads.HEADS`.
        channels: number of colours C of an image.
        levels: number of values of a sub-pixel.
        colours: how many colours of a pixel are predicted one after another: C or 1.
    """

    name: str
    channels: int
    levels: int
    colours: int

    def layers(self, maps: int, features: int) -> tuple[MaskedConv2d, MaskedConv2d]:
        """New convolutions from `maps` via `features` to the outputs of the distribution."""
        kind = HEADS[self.name]
        outputs = kind.outputs(self.channels, self.levels)
        hidden = MaskedConv2d(maps, features, 1, channels=self.colours, mask_type="B")
        out = MaskedConv2d(
            features,
            outputs,
            1,
            channels=self.colours,
            mask_type="B",
            output_blocks=True,
            initial_bias=kind.initial_bias(self.channels, self.levels),
        )
        out.places = FEATURES if kind.half_precision else LOCATIONS
        return hidden, out

    def outputs(
        self, layers: tuple[MaskedConv2d, MaskedConv2d], y: Tensor, cache: Cache | None
    ) -> Tensor:
        """What the distribution at a front or over rows is made from, by the layers' maps."""
        hidden, out = layers
        front = None if cache is None else cache.front
        y = relu(hidden(relu(y, front, self), cache), front)
        kind = HEADS[self.name]
        if kind.half_precision:
            return out(y, cache)  # type: ignore[no-any-return]
        with torch.autocast(y.device.type, enabled=False):
            return out(y.to(out.weight.dtype), cache)  # type: ignore[no-any-return]

    def distribution(self, outputs: Tensor) -> Checked:
        """The distribution over rows, (B, outputs, rows, W), or at a front, (lanes, outputs)."""
        kind = HEADS[self.name]
        if outputs.ndim == 2:
            return kind(outputs[:, :, None, None], self.channels // self.colours, self.levels)
        return kind(outputs, self.channels, self.levels)
