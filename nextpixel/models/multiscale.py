"""Multi-Scale PixelRNN (Pixel Recurrent Neural Networks, section 3.6).

A small image is drawn first, then a larger one that contains its pixels: every s-th row and column
of the large image is the small one. The large model sees the small image through a deconvolutional
network and a bias of every layer (`conditions.kinds.MapCondition`).

As the small image consists of pixels of the large one, the joint distribution is exact if each
pixel is counted once: log p(x) = log p(small) + Σ log p(pixel | earlier pixels, small), summed over
the pixels not in the small image. The large model's terms for the others, which it could copy, are
left out.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from nextpixel.cache import Cache
from nextpixel.conditions.kinds import MapCondition, of_kind
from nextpixel.conditions.values import ValuesLike, as_values
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Checked, Distribution, nats_of
from nextpixel.models.core import AutoregressiveModel, ImageModel, Scale
from nextpixel.models.trainable import config_of
from nextpixel.orders import counts_of

__all__ = ["MultiScale"]

_FARTHEST = 1 << 12
"""Above any in use; it bounds how many models are in one another."""


class MultiScale(ImageModel):
    """A model of a small image, and one of the large image given the small one.

    Pixels come in a different order than elsewhere: first all of the small image, then the others,
    both row by row. What the small model is conditioned on, such as classes, may also condition the
    large one.

    Args:
        small: any model, a `MultiScale` included.
        large: any model with the same channels and levels whose condition is
            `MapCondition(channels, scale=s, levels=levels)`, or a tuple of that and the small
            model's conditions.

    Raises:
        UsageError: the two do not fit together.

    Example:
        >>> import torch
        >>> from nextpixel import PixelCNN, RowLSTM
        >>> small = RowLSTM(levels=4, features=8, layers=2)
        >>> given = MapCondition(1, scale=2, levels=4)
        >>> large = PixelCNN(levels=4, features=8, layers=2, condition=given)
        >>> x = torch.randint(4, (2, 1, 6, 7))
        >>> MultiScale(small=small, large=large)(x).log_prob(x).shape
        torch.Size([2, 1, 6, 7])
    """

    def __init__(self, *, small: ImageModel, large: ImageModel) -> None:
        super().__init__(channels=small.channels, levels=small.levels, orders=small.orders)
        first = of_kind(large.conditions, MapCondition).get(0)
        if not isinstance(large, AutoregressiveModel) or first is None:
            raise UsageError(
                "‹large› must be conditioned on the small image; give it condition=MapCondition(…)"
            )
        for name, given, wanted in (
            ("channels", large.channels, small.channels),
            ("levels", large.levels, small.levels),
            ("condition.maps", first.maps, small.channels),
            ("condition.levels", first.levels, small.levels),
            ("orders", counts_of(large.orders)[0], counts_of(small.orders)[0]),
            ("colour_orders", counts_of(large.orders)[1], counts_of(small.orders)[1]),
        ):
            if given != wanted:
                raise UsageError(
                    f"‹large› has {name}={given}, but the images of ‹small› need {wanted}"
                )
        if first.scale < 2:
            raise UsageError(
                f"the condition of ‹large› has scale={first.scale}; it must be at least 2"
            )
        self.small, self.large, self.scale = small, large, first.scale
        if (apart := max(scale.step for scale in self.scales())) > _FARTHEST:
            raise UsageError(
                f"the pixels of the first scale are {apart:,} apart, and at most {_FARTHEST:,} are"
                " allowed; use fewer scales"
            )
        self.conditions = tuple(part.seen_from(self.scale) for part in small.conditions)
        others = large.conditions[1:]
        if others and others != self.conditions:
            raise UsageError(
                f"beside the small image, ‹large› is conditioned on {others}, but ‹small› on"
                f" {small.conditions}; give both the same conditions (maps with {self.scale} times"
                " the scale), or condition ‹large› on the small image alone"
            )

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        return {"small": config_of(self.small), "large": config_of(self.large)}

    def scales(self) -> Iterator[Scale]:
        """The small model's scales, further apart, then the large model."""
        for network, step, coarser in self.small.scales():
            yield Scale(network, step * self.scale, coarser and coarser * self.scale)
        yield Scale(self.large, 1, self.scale)

    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel given those before it in this model's order.

        Args:
            x: integers (B, C, H, W).
            condition: as for any model.
            cache: None; walks and scores go scale by scale, see `scales`.
        """
        if cache is not None:
            raise UsageError(
                "a multi-scale model has no rows or sites of its own; walk each of its scales()"
            )
        self.check(x, condition)
        values = self.with_told(x, as_values(condition))
        few = x[:, :, :: self.scale, :: self.scale]
        given = Scale(self.large, 1, self.scale).given(x, values)
        parts = self.small(few, values), self.large(x, given)
        both = _TwoScales(*parts, self.scale, levels=self.levels, shape=x.shape)
        both.given = tuple(zip(self.conditions, values, strict=False))
        return both


class _TwoScales(Checked):
    """The small image's distribution where its pixels are, the large one's elsewhere."""

    def __init__(
        self,
        small: Distribution,
        large: Distribution,
        scale: int,
        *,
        levels: int,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__(levels, shape)
        self._small, self._large, self._scale = small, large, scale

    def nats(self, x: Tensor) -> Tensor:
        return self._merged(x, nats_of)

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        return self._merged(x, lambda distribution, values: distribution.log_pmf(values, channel))

    def log_density(self, y: Tensor) -> Tensor:
        return self._merged(y, lambda distribution, values: distribution.log_density(values))

    def _merged(self, x: Tensor, ask: Callable[[Distribution, Tensor], Tensor]) -> Tensor:
        every = slice(None, None, self._scale)
        merged = ask(self._large, x).clone()
        merged[:, :, every, every] = ask(self._small, x[:, :, every, every])
        return merged
