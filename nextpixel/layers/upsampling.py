"""Maps of low resolution, brought to the size of an image for `conditioning.ConditionEncoder`."""

from torch import Tensor, nn
from torch.nn import functional

from nextpixel.conditions.kinds import MapCondition
from nextpixel.layers.arithmetic import Arithmetic, rounded
from nextpixel.layers.layout import Conv2d, ConvTranspose2d

__all__ = ["Context", "Upsampling"]


class Upsampling(nn.Sequential):
    """Brings a map to the size of the image: see `ConditionEncoder`."""

    arithmetic: Arithmetic | None = None

    def __init__(self, condition: MapCondition) -> None:
        features = condition.features
        one_hot = condition.levels if condition.categorical else None
        inputs = condition.maps * (one_hot or 1)
        layers: list[nn.Module] = [Conv2d(inputs, features, 3, padding=1)]
        if condition.context:
            layers.append(Context(features))
        for factor in _prime_factors(condition.scale):
            # Neighbouring kernels overlap by half a stride; the padding centres them.
            kernel, padding = 2 * factor - factor % 2, factor // 2
            layers += [
                nn.ReLU(),
                ConvTranspose2d(features, features, kernel, stride=factor, padding=padding),
            ]
        super().__init__(*layers)
        self.scale = condition.scale

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"scale={self.scale}"

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, inputs, h, w) to (B, features, h · scale, w · scale)."""
        for layer in self:
            maps = rounded(self.arithmetic, layer(maps))
        return maps


class Context(nn.Module):
    """Adds to each pixel of a map what the whole map holds, near pixels finely, far ones coarsely.

    Means of 2×2 pixels, again and again, until one pixel is left; then back to the first size, each
    coarser map added to the finer one. Both ways have one residual 3×3 convolution, the same for
    all resolutions, so that maps may have any size. It costs 8/3 of a 3×3 convolution of the map.
    """

    arithmetic: Arithmetic | None = None

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.coarser = Conv2d(features, features, 3, padding=1)
        self.finer = Conv2d(features, features, 3, padding=1)

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return str(self.features)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, features, h, w) of the same shape."""
        pyramid = [maps]
        while max(pyramid[-1].shape[-2:]) > 1:
            fine = pyramid[-1]
            fine = fine + rounded(self.arithmetic, self.coarser(fine)).relu()
            means = functional.avg_pool2d(fine, 2, ceil_mode=True)
            pyramid.append(rounded(self.arithmetic, means))
        above = pyramid.pop()
        for fine in reversed(pyramid):
            above = functional.interpolate(above, scale_factor=2.0, mode="nearest")
            above = above[:, :, : fine.shape[-2], : fine.shape[-1]]
            above = rounded(self.arithmetic, fine + above + self.finer(above.relu()))
        return above


def _prime_factors(number: int) -> list[int]:
    """2, 2, 3 for 12."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
