"""Linear predictions of each colour of a pixel, to which a mixture adds its means.

Many lossless codecs begin with one: the left and the upper neighbour, less the one
between them, already predict most of a smooth image. Learned features have to rebuild the exact
brightness of the neighbours before they can refine it; with a prediction beside them they only say
what it misses.
"""

import torch
from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.layers.arithmetic import LOCATIONS
from nextpixel.layers.inputs import ImageInput
from nextpixel.layers.masked_conv import FirstConv2d

__all__ = ["LinearPrediction"]

_BESIDE, _DIAGONAL = 0.75, -0.5


class LinearPrediction(nn.Module):
    """Linear functions of the pixels above and to the left, on the scale -1 … 1.

    Each component of a mixture has its own, so that one can follow edges that another crosses. They
    begin as 3/4 of the left and of the upper neighbour, less half of the one between them: the
    plane through them, drawn towards their mean.

    Args:
        channels: number of colours C.
        components: number of components K.
        kernel_size: side of the square that the pixels are in, odd, at least 3.
    """

    def __init__(self, channels: int, components: int, kernel_size: int) -> None:
        super().__init__()
        self.channels, self.components = channels, components
        self.conv = FirstConv2d(channels, channels * components, kernel_size, channels=1)
        self.conv.left.places = self.conv.above.places = LOCATIONS
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The same for all colours and components."""
        left, above = self.conv.left.weight, self.conv.above.weight
        middle = above.shape[3] // 2
        for weight in (left, above, self.conv.above.bias):
            weight.zero_()
        own = torch.eye(self.channels).repeat_interleave(self.components, dim=0).to(left)
        left[:, :, 0, -1] = _BESIDE * own
        above[:, :, -1, middle] = _BESIDE * own
        above[:, :, -1, middle - 1] = _DIAGONAL * own

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"channels={self.channels}, components={self.components}"

    def forward(self, values: ImageInput, x: Tensor, cache: Cache | None) -> Tensor:
        """Of the rows of a pass (B, C·K, rows, W), or at a front (lanes, C·K)."""

        def above() -> Tensor:
            return values.above(x, cache, ahead=self.conv.above.columns_beside)

        # bfloat16 cannot tell all 256 levels apart.
        with torch.autocast(x.device.type, enabled=False):
            return self.conv(values.here(x, cache), above, cache)  # type: ignore[no-any-return]
