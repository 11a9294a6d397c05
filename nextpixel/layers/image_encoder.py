"""From a whole image to a vector: the encoder of auto-encoders and embeddings.

It sees all of an image, so it is not a layer of a distribution; what it gives may condition one.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from nextpixel.errors import UsageError
from nextpixel.layers.integers import check_integers
from nextpixel.layers.layout import Conv2d
from nextpixel.settings.sizes import LARGEST_WIDTH, check_between

__all__ = ["NEGATIVE_SLOPE", "ImageEncoder", "check_encoder"]

NEGATIVE_SLOPE = 0.1
"""The slope of leaky ReLUs below zero.

With plain ones, of slope 0, all units of a layer can end up inactive for every image: they have no
gradient then, and every image has the same code for ever.
"""

_SMALLEST = 4
_LARGEST_OUTPUT = 1 << 16


class ImageEncoder(nn.Module):
    """3×3 convolutions of stride 2 down to at most 4×4 pixels, then a linear layer.

    The papers leave the layout open. Features double with every convolution.

    Args:
        channels, levels: of the images.
        size: (H, W) of the images.
        outputs: length of the vector.
        features: of the first convolution.
        negative_slope: of the leaky ReLU after each convolution.
    """

    def __init__(
        self,
        *,
        channels: int,
        levels: int,
        size: Sequence[int],
        outputs: int,
        features: int,
        negative_slope: float = NEGATIVE_SLOPE,
    ) -> None:
        super().__init__()
        self.channels, self.levels, self.size = channels, levels, (size[0], size[1])
        height, width = self.size
        layers: list[nn.Module] = [
            Conv2d(channels, features, 3, padding=1),
            nn.LeakyReLU(negative_slope),
        ]
        while max(height, width) > _SMALLEST:
            layers += [
                Conv2d(features, 2 * features, 3, stride=2, padding=1),
                nn.LeakyReLU(negative_slope),
            ]
            features, height, width = 2 * features, -(-height // 2), -(-width // 2)
        self.convolutions = nn.Sequential(*layers)
        self.inner = features, height, width
        self.out: nn.Module = nn.Linear(features * height * width, outputs)

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"channels={self.channels}, levels={self.levels}, size={self.size}"

    def forward(self, x: Tensor) -> Tensor:
        """Integers (B, C, H, W) to (B, outputs).

        Raises:
            TypeError: x does not hold integers.
            UsageError: the images are not of the size that the encoder was made for.
        """
        check_integers(x, self.levels)
        if x.ndim != 4 or x.shape[1:] != (self.channels, *self.size):
            wanted = f"(B, {self.channels}, {self.size[0]}, {self.size[1]})"
            raise UsageError(f"‹x› has shape {tuple(x.shape)}; this model takes {wanted}")
        centred = x.to(next(self.parameters()).dtype) * (2 / (self.levels - 1)) - 1
        return self.out(self.convolutions(centred).flatten(1))  # type: ignore[no-any-return]


def check_encoder(
    *, channels: int, levels: int, size: Sequence[int], negative_slope: float, **widths: int
) -> None:
    """Raises UsageError unless an encoder of such images can be made, before it is made.

    Args:
        channels, levels, size: of the images.
        negative_slope: of its leaky ReLUs.
        widths: its outputs and the features of its first convolution, in this order, under the
            names of the caller's parameters.
    """
    check_between("channels", channels, 1, 1 << 10)
    check_between("levels", levels, 2, 1 << 20)
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"‹size› must be the height and width of the images, not {tuple(size)}")
    if not 0 <= negative_slope < 1:
        raise UsageError(
            f"‹negative_slope› must be at least 0 and less than 1, not {negative_slope}"
        )
    (outputs, length), (features, first) = widths.items()
    check_between(outputs, length, 1, _LARGEST_OUTPUT)
    check_between(features, first, 1, LARGEST_WIDTH)
    side, last = max(size), first
    while side > _SMALLEST:
        side, last = -(-side // 2), 2 * last
    if last > LARGEST_WIDTH:
        raise UsageError(
            f"images of {size[0]}×{size[1]} pixels would need {last:,} features in the encoder's"
            f" last convolution, more than {LARGEST_WIDTH:,}; give a smaller ‹{features}› or"
            " smaller images"
        )
