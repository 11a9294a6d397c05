"""From images of one size to a stream and back.

Encoding is one parallel pass, in which every sub-pixel's interval of numbers is looked up; decoding
is the walk. Both go through the sub-pixels in the same order, which the stream's description fixes:
scale by scale (`models.core.Scale`), in the order of

1. the time, column + lag · row, as in `nextpixel.front.skew`,
2. the colour,
3. the row,
4. the image.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nextpixel.border import Admitted
from nextpixel.codec.coder import MOST_LANES, Decoder, encode, lanes_for
from nextpixel.codec.cumulative import Integers, precision
from nextpixel.codec.errors import CodecError
from nextpixel.codec.frequencies import every_cumulative
from nextpixel.conditions.kinds import MapCondition, of_kind
from nextpixel.conditions.values import Values, broadcast
from nextpixel.front.skew import Reach, Skew
from nextpixel.layers.distributions import Distribution
from nextpixel.models.core import ImageModel, Scale
from nextpixel.models.evaluation import evaluating
from nextpixel.plan import Plan
from nextpixel.scoring import passes
from nextpixel.steps import apart

__all__ = ["Stream", "bytes_held", "decode_images", "encode_images"]

_BYTES_PER_PASS = 1 << 26
"""What the layers hold of some rows as they encode: less than in a score, in the same time."""


@dataclass(frozen=True)
class Stream:
    """Images of one size, encoded.

    Attributes:
        lags: of every scale, in their order, how many columns a row is behind the one above it.
        lanes: of the coder.
        data: the coder's.
    """

    lags: tuple[int, ...]
    lanes: int
    data: bytes


def encode_images(model: ImageModel, x: Tensor, values: Values) -> Stream:
    """Encodes images (B, C, H, W).

    Args:
        model: of `codec.exact`.
        x: integers 0 … levels-1.
        values: of the model's conditions, for each image.
    """
    batch, height, width = len(x), x.shape[2], x.shape[3]
    shape = batch, 2 * model.channels, height, width
    found = torch.zeros(shape, dtype=torch.int32, device="cpu")
    with _plain():
        given = Admitted(model, x, values, single=False)
        for images, rows, columns, bounds in passes(
            given, None, ask=_bounds, most_bytes=_BYTES_PER_PASS
        ):
            found[images, :, rows, columns] += bounds.int()
    of_sites = found.numpy().reshape(batch, 2, model.channels, height, width)
    sequence, done, bits, lags = np.empty((2, x.numel()), np.int64), 0, 0.0, []
    for scale in model.scales():
        few = len(range(0, height, scale.step)), len(range(0, width, scale.step))
        reach = scale.network.reach
        lags.append(Skew.of(reach, range(few[0]), few[1], batch, raster=False).lag)
        for channel, row, column in _order(scale, model.channels, few, lags[-1]):
            following = slice(done, done + batch * len(channel))
            part = of_sites[:, :, channel, row, column].transpose(1, 2, 0).reshape(2, -1)
            sequence[:, following], done = part, following.stop
            bits += float((precision(model.levels) - np.log2(part[1])).sum())
    del found, of_sites
    starts, sizes = sequence
    lanes = lanes_for(bits)
    return Stream(tuple(lags), lanes, encode(starts, sizes, model.levels, lanes))


def decode_images(
    model: ImageModel, stream: Stream, batch: int, size: tuple[int, int], values: Values
) -> Tensor:
    """Decodes images: integers (B, C, H, W).

    Raises:
        CodecError: the stream is damaged.
    """
    scales = list(model.scales())
    if not 1 <= stream.lanes <= MOST_LANES or len(stream.lags) != len(scales):
        raise CodecError("the compressed data is damaged")
    for scale, lag in zip(scales, stream.lags, strict=True):
        period = _period(scale.network.reach, len(range(0, size[1], scale.step)))
        if not min(scale.network.reach.lag or period, period) <= lag <= period:
            raise CodecError("the compressed data is damaged")
    x = torch.zeros(batch, model.channels, *size, dtype=torch.int64, device=model.device)
    given = broadcast(model.conditions, values, batch, size, model.device)
    decoder = Decoder(stream.data, model.levels, stream.lanes)
    lags = {scale.step: lag for scale, lag in zip(scales, stream.lags, strict=True)}
    with _plain():
        for _ in apart(_decoded(evaluating(model), x, given, lags, decoder), x.device):
            pass
    decoder.finish()
    return x


def bytes_held(model: ImageModel, batch: int, size: tuple[int, int]) -> int:
    """How much memory a walk through images takes, at most: for a row of them, and for their maps.

    A small file can hold a model of wide maps, and name a large picture.
    """
    numbers = 0
    for network, step, _ in model.scales():
        height, width = (len(range(0, side, step)) for side in size)
        maps = 0
        if network.encoder is not None:
            widths = network.encoder.widths
            maps = widths.maps + widths.positions
            for part in of_kind(network.conditions, MapCondition).values():
                categories = (part.levels or 1) if part.categorical else 1
                maps += part.maps * categories // part.scale**2
        numbers = max(numbers, width * (network.floats_per_pixel + height * maps))
    return batch * numbers * model.dtype.itemsize


def _plain() -> AbstractContextManager[None]:
    """Convolutions are sums of products within a block, and no transforms of them."""
    return torch.backends.cudnn.flags(enabled=False)


def _bounds(distribution: Distribution, values: Tensor) -> Tensor:
    """Where each value's numbers begin, and how many there are: (B, 2 C, rows, W)."""
    batch, channels, rows, width = values.shape
    wanted = values.movedim(1, 0).flatten(1).cpu().numpy().astype(np.int64)
    found = [
        some.at(np.stack([value, value + 1], axis=1))
        for some, value in zip(every_cumulative(distribution, wanted), wanted, strict=True)
    ]
    bounds = np.stack(found)  # (C, sites, 2)
    bounds[:, :, 1] -= bounds[:, :, 0]
    every = torch.from_numpy(bounds).permute(2, 0, 1).reshape(2 * channels, batch, rows, width)
    return every.transpose(0, 1)


def _order(
    scale: Scale, channels: int, size: tuple[int, int], lag: int
) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Channel, row and column of a scale's sub-pixels in the whole image, in their order.

    Some at a time, as many as are in a few rows.
    """
    height, width = size
    last = width - 1 + lag * (height - 1)
    for start in range(0, last + 1, at_once := max(width, lag)):
        stop = min(start + at_once, last + 1)
        first = max(0, -(-(start - width + 1) // lag))
        rows = min(height, (stop - 1) // lag + 1) - first
        channel, row, column = (m.ravel() for m in np.indices((channels, rows, width)))
        row += first
        time = column + lag * row
        counts = (start <= time) & (time < stop)
        if scale.coarser is not None:
            apart = scale.coarser // scale.step
            counts &= (row % apart > 0) | (column % apart > 0)
        channel, row, column, time = (m[counts] for m in (channel, row, column, time))
        order = np.lexsort((row, channel, time))
        yield channel[order], row[order] * scale.step, column[order] * scale.step


def _period(reach: Reach, width: int) -> int:
    """The lag of raster order."""
    return max(width + reach.beside, reach.lead + 1)


def _decoded(
    model: ImageModel, x: Tensor, values: Values, lags: Mapping[int, int], decoder: Decoder
) -> Generator[bool, None, None]:
    """Decodes all sub-pixels into x, step by step of the walk."""
    unknown = torch.ones(1, *x.shape[1:], dtype=torch.bool, device="cpu")
    images = np.arange(len(x))
    for step in Plan(model, x, values, unknown, raster=False, lags=lags).steps():
        front = step.front
        if step.channel == 0:
            time = torch.tensor([front.time], device="cpu")
            rows = front.skew.pixels(time)[0][0].numpy()
            slots = np.flatnonzero(step.slots.cpu().numpy())
            slots = slots[rows[slots].argsort()]
            lanes = (slots[:, None] * len(x) + images).ravel()
            places = front.sites[torch.from_numpy(lanes).to(x.device)]
            decoded = np.zeros((model.channels, len(lanes)), np.int64)
        if step.channel < front.colours:
            distributions = every_cumulative(step.distribution, decoded, lanes)
        decoded[step.channel] = decoder.decode(next(distributions))
        values_of = torch.from_numpy(decoded[step.channel]).to(x.device)
        front.flat(front.x, step.channel).index_copy_(0, places, values_of)
        yield True
