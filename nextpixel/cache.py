"""What a walk over an image has computed so far.

A full pass computes every layer's map for all sites at once. A walk fills the same maps site by
site, and a layer that looks at neighbours keeps in the cache what it will look at again: the last
rows of its input, and the row in progress. The numbers are those of the full pass; only their order
differs.

A cache is at one of two places at a time, and `model(x, condition, cache)` computes just that
place:

- at **rows** (`move_to_rows`): whole rows whose pixels are all known, any number at once. This is
  how a walk takes in known rows, and how large images are scored a few rows at a time;
- at a **site** (`move_to_site`): one colour of one pixel, given everything before it.

Places must follow each other in raster order, because a layer remembers only what later places
need.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

__all__ = ["Cache", "RowInProgress", "Site", "once_per_row", "raster_order"]

State = TypeVar("State")


class Site(NamedTuple):
    """One sub-pixel: a colour of a pixel."""

    channel: int
    row: int
    column: int


def raster_order(channels: int, height: int, width: int) -> Iterator[Site]:
    """All sites in the order of the factorisation: row by row, pixel by pixel, colour by colour."""
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                yield Site(channel, row, column)


class Cache:
    """The causal layers' memory during one walk over a batch of images.

    Weights are read when a layer is first used, so a cache belongs to the model as it was then:
    make a new one after further training.

    Args:
        batch: images walked side by side.
        channels: colours of the images that the model predicts one after another: see
            `AutoregressiveModel.colours`.
        height: rows of the images.
        width: columns of the images.
    """

    def __init__(self, batch: int, channels: int, height: int, width: int) -> None:
        self.batch, self.channels, self.height, self.width = batch, channels, height, width
        self.rows = range(0)
        self.site: Site | None = None
        self._states: dict[Hashable, object] = {}
        self._row_maps: dict[nn.Module, tuple[int, list[tuple[Tensor, ...]]]] = {}

    def move_to_rows(self, start: int, stop: int) -> None:
        """Goes to the rows start … stop-1, which are known and are taken in at once."""
        if start != self.rows.stop:
            raise ValueError(
                f"rows must follow one another: expected row {self.rows.stop}, received {start}"
            )
        if stop > self.height:
            raise ValueError(f"row {stop - 1} is outside the image, which has {self.height} rows")
        self.rows, self.site = range(start, stop), None

    def move_to_site(self, site: Site) -> None:
        """Goes to one site. The first site of a row enters that row."""
        if site.row != self.rows.stop - 1 or self.site is None:
            self.move_to_rows(site.row, site.row + 1)
        self.site = site

    def state(self, key: Hashable, create: Callable[[], State]) -> State:
        """What a layer keeps under `key`, such as itself; `create` makes it on first use."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = create()
        return state  # type: ignore[return-value]

    def at_site(
        self, layer: nn.Module, row_maps: Callable[[], Sequence[Tensor]]
    ) -> tuple[Tensor, ...]:
        """Maps computed once per row, (B, F, 1, W) each, cut to the site: (B, F / C) each."""
        assert self.site is not None
        channel, row, column = self.site
        kept = self._row_maps.get(layer)
        if kept is None or kept[0] != row:
            cuts = [
                m.view(self.batch, -1, self.channels, self.width)
                .permute(3, 2, 0, 1)
                .contiguous()
                .flatten(0, 1)
                for m in row_maps()
            ]
            kept = self._row_maps[layer] = (
                row,
                list(zip(*(cut.unbind(0) for cut in cuts), strict=True)),
            )
        return kept[1][column * self.channels + channel]

    def previous_site(self) -> Site | None:
        """The sub-pixel just before the current site in its row; None at the start of the row."""
        assert self.site is not None
        channel, row, column = self.site
        if channel:
            return Site(channel - 1, row, column)
        return Site(self.channels - 1, row, column - 1) if column else None


class RowInProgress:
    """One layer's map in the row that a walk is in, filled site by site.

    Args:
        like: features of one site, (B, F / C).
        cache: the walk.
        left: how many columns to hold to the left of the row; they are zero until something is put
            there.

    Attributes:
        values: (B, left + W, C, F / C), so that what lies side by side is one slice.
    """

    def __init__(self, like: Tensor, cache: Cache, left: int) -> None:
        self.values = like.new_zeros(
            like.shape[0], left + cache.width, cache.channels, like.shape[1]
        )
        self._left = left
        self._sites = [column.unbind(1) for column in self.values.unbind(1)[left:]]
        self._begun = False

    def put(self, site: Site, features: Tensor) -> None:
        """Writes the features of a site."""
        self._sites[site.column][site.channel].copy_(features)
        self._begun = True

    def take(self) -> Tensor | None:
        """The map (B, F, 1, W) of a row that is complete, once; None if there is none."""
        if not self._begun:
            return None
        self._begun = False
        return self.values[:, self._left :].permute(0, 3, 2, 1).flatten(1, 2)[:, :, None]


def once_per_row(
    cache: Cache | None, layer: nn.Module, maps: Callable[[], Sequence[Tensor]]
) -> Sequence[Tensor]:
    """Maps over the rows of a pass; at a site, cut to it from maps computed once for the row."""
    return maps() if cache is None or cache.site is None else cache.at_site(layer, maps)
