"""A model inside an archive: the integers of its exact arithmetic, entropy coded.

Nothing that is read is executed: the class is looked up among those of checkpoints, and its tensors
are numbers. A model has at most `_PER_BYTE` weights for each byte that stores them, and it is
compared with its configuration before memory is taken for it, as with any checkpoint.

Weights are near zero and rarely equal, so that their lengths in bits are worth coding and their
lowest bits are not. A weight of magnitude m gives a token, which says m below 4, and otherwise the
number of its bits and the second highest of them. Tokens are Huffman coded. The lower bits and the
signs follow as they are. This is within a hundredth of the entropy of each layer's weights, and
smaller than lzma makes them by a tenth (decision 0032).
"""

import copy
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel.codec.errors import CodecError
from nextpixel.codec.fields import Fields, text, varint
from nextpixel.errors import UsageError
from nextpixel.files.fields import checked, parsed
from nextpixel.files.tensors import TensorHeader
from nextpixel.layers.arithmetic import LOCATIONS
from nextpixel.layers.linear_prediction import LinearPrediction
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.models.core import ImageModel
from nextpixel.models.rebuilding import build
from nextpixel.models.wrapping import unwrap

__all__ = ["coarse", "pack_model", "unpack_model"]

Integers = NDArray[np.int64]

_PER_BYTE = 8
_MOST_AXES = 8
_REAL = LOCATIONS + 1
"""The binary places of a tensor whose values are no such integers, and are stored as float64: the
means and deviations by which vectors are standardised."""
_PLAIN = 4  # magnitudes below are tokens themselves
_TOKENS = 64
_LARGEST = 1 << 32  # of magnitudes, whose tokens are below 64
_DAMAGED = "the model in the compressed data is damaged"


def coarse(model: ImageModel, places: int) -> ImageModel:
    """A copy of a model whose weights are multiples of 2^-places.

    Biases and linear predictions, which are few and count in full, keep theirs. Weights that a mask
    hides become zero, which costs nothing to store.
    """
    made = copy.deepcopy(unwrap(model)).requires_grad_(False)
    fine = set[int]()
    for part in made.modules():
        if isinstance(part, MaskedConv2d):
            part.weight.copy_(part.masked_weight())
        if isinstance(part, LinearPrediction):
            fine |= set(map(id, part.parameters()))
    for parameter in made.parameters():
        if parameter.ndim > 1 and id(parameter) not in fine:
            parameter.copy_(parameter.double().mul(1 << places).round().div(1 << places))
    assert isinstance(made, ImageModel)
    return made


def pack_model(model: ImageModel) -> bytes:
    """A model of `codec.exact`, in the form that `unpack_model` reads.

    The name of its class and its configuration as JSON; how many tensors it has; for each, in the
    order of their names, the name, its dimensions, and how many binary places its values have, or
    `_REAL` and the values themselves; the tokens of all other values, deflated, after their length;
    and their bits.
    """
    said = json.dumps({"model": type(model).__name__, "config": model.config()}, sort_keys=True)
    tensors, integers = sorted(model.state_dict().items()), []
    head = [text(said), varint(len(tensors))]
    for name, tensor in tensors:
        values = tensor.cpu().double().numpy()
        head += [text(name), *map(varint, (values.ndim, *values.shape))]
        if (found := _as_integers(values)) is None:
            head += [varint(_REAL), values.astype("<f8").tobytes()]
            continue
        common = int(np.bitwise_or.reduce(np.abs(found), axis=None, initial=1 << LOCATIONS))
        shift = (common & -common).bit_length() - 1
        integers.append(found.ravel() >> shift)
        head.append(varint(LOCATIONS - shift))
    values = np.concatenate(integers) if integers else np.empty(0, np.int64)
    tokens, few = _tokens(np.abs(values))
    deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    stored = deflate.compress(tokens.astype(np.uint8).tobytes()) + deflate.flush()
    signed = tokens > 0
    lower = _bits_of(np.abs(values), few)
    bits = np.packbits(np.concatenate([values[signed] < 0, lower]))
    return b"".join([*head, varint(len(stored)), stored, bits.tobytes()])


def unpack_model(body: bytes, place: Path) -> ImageModel:
    """The model of `pack_model`, in float64.

    Args:
        body: what `pack_model` gave.
        place: the file, for errors.

    Raises:
        CodecError: it is none, or it would be larger than so many bytes can say.
    """
    fields = Fields(body)
    try:
        said = parsed(fields.text(), str(place))
        shapes, places, weights = {}, {}, {}
        for _ in range(fields.varint()):
            name, axes = fields.text(), fields.varint()
            if name in shapes or axes > _MOST_AXES:
                raise CodecError(_DAMAGED)
            shapes[name] = tuple(fields.varint() for _ in range(axes))
            places[name] = fields.varint()
            if places[name] > _REAL:
                raise CodecError(_DAMAGED)
            if places[name] == _REAL:
                weights[name] = _reals(fields, shapes[name])
        stored = fields.bytes(fields.varint())
        whole = [name for name in shapes if name not in weights]
        count = sum(math.prod(shapes[name]) for name in whole)
        if count > _PER_BYTE * len(stored):
            raise CodecError(_DAMAGED)
        values = _values(stored, count, np.frombuffer(fields.bytes(), np.uint8))
        header = TensorHeader(
            metadata={}, shapes=shapes, dtypes=dict.fromkeys(shapes, "F64"), sha256=None
        )
        config = checked(said.get("config"), dict, f"{place}: config")
        model = build(str(said.get("model")), config, place, header)
    except CodecError:
        raise
    except UsageError as error:
        raise CodecError(f"{_DAMAGED}: {error.sentence}") from None
    if not isinstance(model, ImageModel):
        raise CodecError(f"{_DAMAGED}: a {type(model).__name__} has no likelihood")
    at = 0
    for name in whole:
        size = math.prod(shapes[name])
        scaled = values[at : at + size] / (1 << places[name])
        weights[name], at = torch.from_numpy(scaled.reshape(shapes[name])), at + size
    model = model.double().eval().requires_grad_(False)
    model.load_state_dict(weights)
    return model


def _as_integers(values: NDArray[np.float64]) -> Integers | None:
    """Values in units of 2^-16; None if tokens do not hold them exactly."""
    units = np.rint(values * (1 << LOCATIONS))
    if not (np.abs(units) < _LARGEST).all():
        return None
    found = units.astype(np.int64)
    return found if (found / (1 << LOCATIONS)).tobytes() == values.tobytes() else None


def _reals(fields: Fields, shape: tuple[int, ...]) -> torch.Tensor:
    """The float64 values of a tensor."""
    values = np.frombuffer(fields.bytes(8 * math.prod(shape)), "<f8").astype(np.float64)
    if not np.isfinite(values).all():
        raise CodecError(_DAMAGED)
    try:
        return torch.from_numpy(values.reshape(shape))
    except ValueError:  # without elements, but of more rows than an array can have
        raise CodecError(_DAMAGED) from None


def _tokens(magnitudes: Integers) -> tuple[Integers, Integers]:
    """The token of each magnitude, and how many lower bits follow it."""
    bits = np.frexp(magnitudes.astype(np.float64))[1].astype(np.int64)
    few = np.where(magnitudes < _PLAIN, 0, bits - 2)
    second = magnitudes >> few & 1
    return np.where(magnitudes < _PLAIN, magnitudes, _PLAIN + 2 * (bits - 3) + second), few


def _bits_of(magnitudes: Integers, few: Integers) -> NDArray[np.bool_]:
    """The lower bits of each magnitude, the highest of them first."""
    places = _places(few)
    return (np.repeat(magnitudes, few) >> places & 1).astype(bool)


def _places(few: Integers) -> Integers:
    """Few - 1 … 0 for each number of bits, one after another."""
    ends = np.cumsum(few)
    places: Integers = np.repeat(ends, few) - 1 - np.arange(ends[-1] if len(ends) else 0)
    return places


def _values(stored: bytes, count: int, packed: NDArray[np.uint8]) -> Integers:
    """So many integers, from their deflated tokens and their bits."""
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(stored, count + 1)
    except zlib.error:
        raise CodecError(_DAMAGED) from None
    tokens = np.frombuffer(found, np.uint8).astype(np.int64)
    if len(tokens) != count or not inflate.eof or (tokens >= _TOKENS).any():
        raise CodecError(_DAMAGED)
    few = np.where(tokens < _PLAIN, 0, (tokens - _PLAIN) // 2 + 1)
    highest = np.where(tokens < _PLAIN, tokens, 2 + (tokens - _PLAIN) % 2)
    signed = np.flatnonzero(tokens)
    needed = len(signed) + int(few.sum())
    if len(packed) != -(-needed // 8):
        raise CodecError(_DAMAGED)
    bits = np.unpackbits(packed, count=needed).astype(np.int64)
    values = (highest << few).astype(np.int64)
    owners = np.repeat(np.arange(count), few)
    np.add.at(values, owners, bits[len(signed) :] << _places(few))
    values[signed[bits[: len(signed)] > 0]] *= -1
    return values
