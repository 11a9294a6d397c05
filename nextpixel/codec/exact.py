"""A model in exact arithmetic: the same network, whose results are the same on every machine.

In floating point a sum depends on the order of its terms, and so on the batch, the threads, the
layout of memory and the device. Here every factor of a product is a multiple of a power of two, and
so small that all partial sums of products fit into the 53 bits of float64. No sum is rounded before
it is complete, and so it is the mathematical value, whatever the order:

================================================  ======================
weights and biases                                multiples of 2^-12
images, vectors, maps, positions                  multiples of 2^-16
features, gates, logits, states and cell states   multiples of 2^-10
outputs of a logistic mixture                     multiples of 2^-16
tanh and σ, of multiples of 2^-10 up to ±12       multiples of 2^-12
================================================  ======================

All but the weights are held in ±2^11. With Σ|w| ≤ 512 for every output of every layer, which is
checked, a product is at most 2^21 and what is added up for one number less than 2^25: in units of
2^-28, the finest grid of a product, less than 2^53.
"""

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.codec.tables import STEPS, WIDEST, squashing
from nextpixel.conditions.notation import conditions_to_json
from nextpixel.errors import UsageError
from nextpixel.layers.arithmetic import FEATURES, LOCATIONS
from nextpixel.layers.conditioning import ConditionBias, ConditionEncoder
from nextpixel.layers.diagonal_lstm import DiagonalBiLSTMLayer
from nextpixel.layers.gated import GatedBlock
from nextpixel.layers.inputs import CategoricalInput, OrdinalInput
from nextpixel.layers.layout import Conv2d, ConvTranspose2d, lay_out
from nextpixel.layers.linear_prediction import LinearPrediction
from nextpixel.layers.masked_conv import FirstConv2d, MaskedConv2d
from nextpixel.layers.residual import ConvolutionalLayer, ResidualBlock
from nextpixel.layers.row_lstm import RowLSTMLayer
from nextpixel.layers.upsampling import Context, Upsampling
from nextpixel.layers.vertical_conv import VerticalConv2d
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.models.registry import MODELS
from nextpixel.models.wrapping import unwrap

__all__ = ["WEIGHTS", "Dyadic", "bound_sums", "exact", "fingerprint"]

_LARGEST = 2.0**11
WEIGHTS = 12
"""Binary places of weights and biases."""
_MOST_WEIGHT = 512
_BOUNDED = 0.97 * _MOST_WEIGHT  # what rounding adds fits in between
_FEW_INPUTS = 20  # torch's own convolution is faster up to about so many features
_SUMS_AT_ONCE = 2048  # of each feature


class Dyadic:
    """The arithmetic of multiples of powers of two: see the top of this file."""

    def convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, beside: int, zeros: int = 0
    ) -> Tensor:
        """A convolution, tap by tap: sums have no order, and torch has no fast one in float64."""
        outputs, inputs, rows, columns = weight.shape
        if rows * columns == 1 or inputs < _FEW_INPUTS:
            return functional.conv2d(x, weight, bias, padding=(0, beside))
        # Rows are laid end to end, with the zeros between two of them once, and a tap is a slice.
        batch, _, height, width = x.shape
        width, beside, high = width - 2 * zeros, beside + zeros, height - rows + 1
        pitch, wide = width + beside, width + 2 * beside - columns + 1
        ends = x.new_zeros(batch, inputs, height * pitch + beside)
        rows_of = torch.unflatten(ends[:, :, beside:], 2, (height, pitch))
        rows_of[..., :width] = x.narrow(3, zeros, width)
        taps = weight.permute(2, 3, 0, 1).flatten(0, 1).contiguous()
        some = taps.ne(0).flatten(1).any(dim=1).tolist()
        places = [row * pitch + column for row in range(rows) for column in range(columns)]
        read = [(tap, place) for tap, place, any_ in zip(taps, places, some, strict=True) if any_]
        y = x.new_empty(batch, outputs, high * pitch)
        length = (high - 1) * pitch + wide
        # Of so many sums at once, which stay in the cache until all taps are added.
        most = _SUMS_AT_ONCE if x.device.type == "cpu" else batch * length
        images, at_once = max(1, most // length), max(1, min(most, length))
        for first, start in itertools.product(range(0, batch, images), range(0, length, at_once)):
            stop = min(start + at_once, length)
            sums = y[first : first + images, :, start:stop]
            if bias is None:
                sums.zero_()
            else:
                sums.copy_(bias[:, None])
            for tap, place in read:
                seen = ends[first : first + images, :, start + place : stop + place]
                if len(seen) == 1:
                    sums[0].addmm_(tap, seen[0])
                else:
                    sums.baddbmm_(tap.expand(len(seen), -1, -1), seen)
        return torch.unflatten(y, 2, (high, pitch))[..., :wide].contiguous()

    def rounded(self, y: Tensor, places: int) -> Tensor:
        """To the nearest multiple of 2^-places, ties to even, within ±2^11; in place."""
        return y.clamp_(-_LARGEST, _LARGEST).add_(_shift(places)).sub_(_shift(places))

    def gate(self, y: Tensor, into: Tensor | None = None) -> Tensor:
        """tanh(a) ⊙ σ(b) of the halves of y (B, 2F, …); it overwrites y, sums of products."""
        zeros = _places("tσ", y.shape[1] // 2, y.device).view(-1, *[1] * (y.ndim - 2))
        a, b = _looked_up(y, zeros).chunk(2, dim=1)
        return torch.mul(a, b, out=into).add_(_shift(FEATURES)).sub_(_shift(FEATURES))

    def cell(self, gates: Tensor, carried: Tensor, h: Tensor, c: Tensor) -> None:
        """One step of an LSTM; it overwrites the gates, sums of products."""
        width = c.shape[-1]
        found = _looked_up(gates, _places("σσσt", width, gates.device))
        o, f, i, g = found.chunk(4, dim=-1)
        self.rounded(torch.mul(f, carried, out=c).addcmul_(i, g), FEATURES)
        torch.mul(o, _looked_up(c.clone(), _places("t", width, c.device)), out=h)
        h.add_(_shift(FEATURES)).sub_(_shift(FEATURES))

    def positions(
        self, waves: int, height: int, width: int, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Waves at every pixel, of cosines that are themselves multiples of 2^-16."""
        of_rows, of_columns = (_waves(waves, side).to(dtype) for side in (height, width))
        products = (of_rows[:, None, :, None] * of_columns[None, :, None, :]).flatten(0, 1)
        return self.rounded(products, LOCATIONS)[None, 1:].to(device)


def _shift(places: int) -> float:
    """In its binade, float64 holds the multiples of 2^-places and no others."""
    return 1.5 * 2.0 ** (52 - places)


def _looked_up(y: Tensor, zeros: Tensor) -> Tensor:
    """Values of tanh or σ of y, rounded to multiples of 2^-10; it overwrites y.

    `zeros` are the places of those of zero, less the bits of the number that rounds.
    """
    # The rounded number, in units of 2^-10, is what its bits have more than those of the shift.
    bits = y.clamp_(-WIDEST / STEPS, WIDEST / STEPS).add_(_shift(FEATURES)).view(torch.int64)
    places = bits.add_(zeros)
    if places.is_contiguous():
        return squashing(y.device).index_select(0, places.flatten()).view(y.shape)
    return squashing(y.device).index_select(0, places.mT.flatten()).view(y.mT.shape).mT


@lru_cache(maxsize=64)
def _places(functions: str, width: int, device: torch.device) -> Tensor:
    """For `_looked_up`, of tanh ("t") or σ, for so many features of each function."""
    bits = int(torch.tensor(_shift(FEATURES), dtype=torch.float64, device="cpu").view(torch.int64))
    zeros = [(WIDEST if function == "t" else 3 * WIDEST + 1) - bits for function in functions]
    return torch.tensor(zeros, device=device).repeat_interleave(width)


def _waves(waves: int, side: int) -> Tensor:
    """cos(πk(n + ½) / side) for k = 0 … waves and n = 0 … side-1, each value computed once."""
    cosines = [_cosine(m, 2 * side) for m in range(2 * side + 1)]
    values = torch.tensor(cosines, dtype=torch.float64, device="cpu")
    k, n = (torch.arange(count, device="cpu") for count in (waves + 1, side))
    angles = k[:, None] * (2 * n + 1) % (4 * side)
    return values[torch.minimum(angles, 4 * side - angles)]


_PI = 0x3243F6A8885A308D313198A2E03707344  # times 2^128


def _cosine(numerator: int, denominator: int) -> float:
    """cos(π · numerator / denominator), rounded to a multiple of 2^-16, in integers alone."""
    angle = abs(numerator) % (2 * denominator)
    angle = min(angle, 2 * denominator - angle) * _PI // denominator
    square, term, total, k = angle * angle >> 128, 1 << 128, 0, 0
    while term:
        total += term
        term = -(term * square >> 128) // ((k + 1) * (k + 2))
        k += 2
    half = 1 << (127 - LOCATIONS)
    return (total + half >> (128 - LOCATIONS)) / (1 << LOCATIONS)


_DYADIC = Dyadic()

# For every layer with weights, over which axes a number of its output adds them up.
_SUMS: dict[type[nn.Module], tuple[int, ...]] = {
    MaskedConv2d: (1, 2, 3),
    VerticalConv2d: (1, 2, 3),
    Conv2d: (1, 2, 3),
    ConvTranspose2d: (0, 2, 3),
    nn.Conv2d: (1, 2, 3),
    nn.ConvTranspose2d: (0, 2, 3),
    nn.Linear: (1,),
    RowLSTMLayer: (0, 1),
    DiagonalBiLSTMLayer: (1, 2),
}
_OTHERS: tuple[type[nn.Module], ...] = (
    CategoricalInput,
    ConditionBias,
    ConditionEncoder,
    Context,
    ConvolutionalLayer,
    FirstConv2d,
    GatedBlock,
    LinearPrediction,
    OrdinalInput,
    ResidualBlock,
    Upsampling,
    nn.Dropout,
    nn.ModuleList,
    nn.ReLU,
    nn.Sequential,
)


def exact(model: ImageModel) -> ImageModel:
    """A copy of a model that computes exactly: the same distribution to about a thousandth.

    Its logits are the same integers in units of 2^-10, whatever the batch, the order, the threads,
    the layout and the machine. It is called like any model, `exact(model)(x, condition, cache)`,
    but cannot be trained. Of an auto-encoder it is the decoder, which takes codes.

    Args:
        model: a model of nextpixel, in float32 or any other precision.

    Raises:
        UsageError: a part of the model is not nextpixel's own, or its weights are too large for
            the guarantee, or not finite.
    """
    inside = unwrap(model)
    if isinstance(inside, PixelCNNAutoencoder):
        inside = inside.decoder
    known = (*_SUMS, *_OTHERS, *MODELS.values())
    for name, part in inside.named_modules():
        _check_code(name, part, known)  # before the copy, which a pruned layer does not allow
    made = copy.deepcopy(inside).double().eval().requires_grad_(False)
    lay_out(made, channels_last=False)
    for name, part in made.named_modules():
        for key, value in (
            *part.named_parameters(recurse=False),
            *part.named_buffers(recurse=False),
        ):
            if not value.isfinite().all():
                raise UsageError(f"{name}.{key} of the model is not finite; train the model again")
        if hasattr(type(part), "arithmetic"):
            part.arithmetic = _DYADIC
        axes = _SUMS.get(type(part))
        for key, parameter in part.named_parameters(recurse=False):
            initial = key.startswith("initial")
            places = LOCATIONS if axes is None else FEATURES if initial else WEIGHTS
            _DYADIC.rounded(parameter, places)
        if axes is not None:
            _check_sums(name, part, axes)
    assert isinstance(made, ImageModel)
    return made


def _check_code(name: str, part: nn.Module, known: tuple[type[nn.Module], ...]) -> None:
    """Raises unless all code of a part is known to be exact."""
    if type(part) not in known:
        raise UsageError(
            f"{name or 'the model'} is of the class {type(part).__name__}, whose arithmetic is not"
            " known to be exact; compress with a model of nextpixel's own classes"
        )
    if "forward" in vars(part) or part._forward_hooks or part._forward_pre_hooks:
        raise UsageError(
            f"{name or 'the model'} has a hook or a forward of its own, whose arithmetic is not"
            " known to be exact; remove it"
        )


@torch.no_grad()
def bound_sums(model: nn.Module) -> None:
    """Scales down, in place, the weights of every output whose sum exceeds what `exact` takes.

    The others stay as they are. A gate of such an output is saturated before and after.
    """
    for part in model.modules():
        if (axes := _SUMS.get(type(part))) is None:
            continue
        weight, total = _sums(part, axes)
        factor = (_BOUNDED / total).clamp_(max=1)
        shape = [1 if axis in axes else size for axis, size in enumerate(weight.shape)]
        weight.mul_(factor.view(shape))
        bias = getattr(part, "bias", None)
        if bias is not None:
            bias.mul_(factor)


def _sums(part: nn.Module, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The weights of a layer, and what those of each output and its bias add up to."""
    weight: Tensor = next(
        value for key, value in part.named_parameters() if key in ("weight", "state_to_state")
    )
    used = part.masked_weight() if isinstance(part, MaskedConv2d) else weight
    total = used.abs().sum(dim=axes).flatten()
    bias = getattr(part, "bias", None)
    return weight, total if bias is None else total + bias.abs()


def _check_sums(name: str, part: nn.Module, axes: tuple[int, ...]) -> None:
    """Raises unless no sum of products of a layer can need more than 53 bits."""
    largest = float(_sums(part, axes)[1].max())
    if largest > _MOST_WEIGHT:
        raise UsageError(
            f"the absolute weights of an output of the layer {name} add up to {largest:,.1f}, and"
            f" exact sums are guaranteed up to {_MOST_WEIGHT}; compress with another model"
        )


def fingerprint(model: ImageModel) -> bytes:
    """SHA-256 of an exact model: of its integers, and of the settings that are no defaults.

    Two models with one fingerprint compress to the same bytes, whatever files they come from.
    """
    digest = hashlib.sha256(json.dumps(list(_settings(model)), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        values = tensor.detach().cpu().double().contiguous().numpy()
        digest.update(np.array(values.shape, dtype="<i8").tobytes())
        digest.update(values.astype("<f8").tobytes())
    return digest.digest()


def _settings(model: ImageModel) -> Iterator[tuple[str, int, dict[str, object]]]:
    """Of each scale the class, the step, and what a later version cannot give another meaning."""
    for scale in model.scales():
        assert isinstance(scale.network, AutoregressiveModel)
        settings = scale.network.settings
        told = {
            field.name: getattr(settings, field.name)
            for field in fields(settings)
            if field.default is MISSING or getattr(settings, field.name) != field.default
        }
        told["condition"] = conditions_to_json(scale.network.conditions)
        yield type(scale.network).__name__, scale.step, told
