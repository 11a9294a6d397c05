"""The lossless codec: exact arithmetic, integer frequencies, the coder, and streams."""

import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import nextpixel
from nextpixel import GatedPixelCNN, PixelCNN
from nextpixel.border import Admitted
from nextpixel.codec import tables
from nextpixel.codec.coder import Decoder, encode
from nextpixel.codec.compress import Coder, compress, decompress
from nextpixel.codec.cumulative import Cumulative, Finder, precision
from nextpixel.codec.errors import CodecError
from nextpixel.codec.exact import Dyadic, exact, fingerprint
from nextpixel.codec.frequencies import cumulative, every_cumulative, frequencies
from nextpixel.codec.streams import decode_images, encode_images
from nextpixel.conditions.values import Values, broadcast, index, unknown
from nextpixel.errors import UsageError
from nextpixel.layers.heads import LogisticMixture
from nextpixel.models.core import ImageModel
from nextpixel.plan import Plan
from nextpixel.scoring import passes, score
from tests.cases import build, conditions, images, over

FIXTURES = Path(__file__).parent / "fixtures" / "codec"
every_case = over()
CPU = torch.device("cpu")
VARIED = [
    *("gated-wide-kernels", "pixel-cnn-gated", "row-lstm-rgb-classes", "diagonal-complete-classes"),
]


def given(model: ImageModel, batch: int, size: tuple[int, int]) -> Values:
    return broadcast(model.conditions, conditions(model, batch, size), batch, size, CPU)


def sizes(name: str) -> tuple[int, int]:
    return (6, 6) if name.startswith("autoencoder") else (4, 3)


def rows_of(model: ImageModel, x: Tensor, values: Values, most_rows: int | None = None) -> Tensor:
    """The cumulative frequencies of all values at every site, (B, C · (L + 1), H, W)."""
    found = torch.zeros(
        len(x), model.channels * (model.levels + 1), *x.shape[2:], dtype=torch.float64
    )

    def ask(distribution: object, part: Tensor) -> Tensor:
        every = [
            torch.from_numpy(cumulative(distribution, part, c).rows())
            .view(len(part), *part.shape[2:], -1)
            .permute(0, 3, 1, 2)
            for c in range(model.channels)
        ]
        return torch.cat(every, dim=1)

    with pytest.MonkeyPatch.context() as patch:
        if most_rows is not None:
            patch.setattr("nextpixel.scoring.rows_per_pass", lambda *_: most_rows)
        given = Admitted(model, x, values, single=False)
        for at, rows, columns, answer in passes(given, None, ask=ask):
            found[at, :, rows, columns] += answer
    return found.unflatten(1, (model.channels, -1))


def walked(model: ImageModel, x: Tensor, values: Values, *, raster: bool) -> Tensor:
    """As `rows_of`, from the steps of a walk over known images."""
    found = torch.zeros(len(x), model.channels, model.levels + 1, *x.shape[2:], dtype=torch.float64)
    unknown = torch.ones(1, *x.shape[1:], dtype=torch.bool)
    for step in Plan(model, x, values, unknown, raster=raster).steps():
        at = torch.from_numpy(cumulative(step.distribution, step.given(), step.channel).rows())
        times = torch.tensor([step.front.time])
        row, column, _ = (m[0].repeat_interleave(len(x)) for m in step.front.skew.pixels(times))
        lanes, start = step.wanted.nonzero().flatten(), step.part
        row = (row[lanes] + start.rows.start) * start.step
        column = (column[lanes] + start.columns.start) * start.step
        found[lanes % len(x), step.channel, :, row, column] = at[lanes].double()
    return found


@every_case
def test_a_stream_restores_its_images_at_the_size_of_their_likelihood(name: str) -> None:
    model, size = exact(build(name)), sizes(name)
    x, values = images(model, 2, size), given(model, 2, size)
    stream = encode_images(model, x, values)
    assert torch.equal(decode_images(model, stream, 2, size, values), x)
    bits = -float(score(model, x, values).sum()) / np.log(2)
    # A lane's state begins at 2^31, and has 63 bits at most.
    assert stream.lanes == 1 and len(stream.data) * 8 <= bits * 1.001 + 64


@over(VARIED)
def test_frequencies_are_the_same_integers_however_they_are_computed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, size = exact(build(name)), (6, 6) if name.startswith("autoencoder") else (4, 5)
    x, values = images(model, 2, size), given(model, 2, size)
    whole = rows_of(model, x, values)
    parts = [rows_of(model, x[k : k + 1], index(values, slice(k, k + 1))) for k in range(2)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(rows_of(model, x, values, most_rows=2), whole)
    assert torch.equal(walked(model, x[:1], index(values, slice(1)), raster=True), whole[:1])
    assert torch.equal(walked(model, x, values, raster=False), whole)
    monkeypatch.setattr("nextpixel.codec.streams.lanes_for", lambda _: 11)  # together
    stream = encode_images(model, x, values)
    assert torch.equal(decode_images(model, stream, 2, size, values), x)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        last = x.contiguous(memory_format=torch.channels_last)
        torch.backends.mkldnn.set_flags(False)
        assert torch.equal(rows_of(model, last, values), whole)
    finally:
        torch.backends.mkldnn.set_flags(True)
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["gated-rgb", "gated-binary", "gated-logistic", "diagonal"])
def test_frequencies_add_up_and_are_those_of_the_float_model(name: str) -> None:
    model = build(name)
    x, values = images(model, 2, (4, 3)), given(model, 2, (4, 3))
    same = exact(model)
    for channel in range(model.channels):
        found = frequencies(same(x, values), x, channel)
        assert (found >= 1).all()
        assert (found.sum(dim=1) == 1 << precision(model.levels)).all()
        pmf = model(x, values).log_pmf(x, channel).exp()
        assert (found / (1 << precision(model.levels)) - pmf).abs().max() < 2e-3


def test_exact_sums_do_not_depend_on_their_order_where_float_sums_do() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 4000, dtype=torch.float64, generator=generator)
    order = torch.randperm(4000, generator=generator)
    terms = x * weight
    assert terms.cumsum(0)[-1] != terms[order].cumsum(0)[-1]
    terms = Dyadic().rounded(x, 10) * Dyadic().rounded(weight, 12)
    assert terms.cumsum(0)[-1] == terms[order].cumsum(0)[-1]


def test_no_value_of_a_table_is_near_a_rounding_boundary() -> None:
    """So that every machine whose exp and tanh err by less than 10^-14 makes the same tables."""
    steps = tables.STEPS
    x = np.arange(-tables.WIDEST, tables.WIDEST + 1) / steps
    sharp = np.arange(-tables.SHARPEST, tables.SHARPEST + 1) / steps
    unit = 1 << tables.EXPONENTIAL_BITS
    for values in (
        np.tanh(x) * 4096,
        4096 / (1 + np.exp(-x)),
        unit * np.exp(-np.arange(20 * steps) / steps),
        unit / (1 + np.exp(-sharp)),
    ):
        distance = np.abs(values - np.floor(values) - 0.5).min()
        assert distance > 1e-14 * np.abs(values).max()


def _scaled(model: ImageModel) -> None:
    with torch.no_grad():
        model.blocks[1].out.weight *= 1e4  # type: ignore[index, operator, union-attr]


def _hooked(model: ImageModel) -> None:
    model.blocks[1].out.register_forward_hook(lambda *_: None)  # type: ignore[index, union-attr]


def _pruned(model: ImageModel) -> None:
    prune.l1_unstructured(model.blocks[1].out, "weight", 0.5)  # type: ignore[index, union-attr, no-untyped-call]


def _foreign(model: ImageModel) -> None:
    class Mine(nn.ReLU):
        pass

    model.blocks.append(Mine())  # type: ignore[operator, union-attr]


def _damaged(model: ImageModel) -> None:
    with torch.no_grad():
        model.blocks[1].out.weight[0] = torch.nan  # type: ignore[index, union-attr]


def _unscaled(model: ImageModel) -> None:
    model.encoder.factor.fill_(torch.inf)  # type: ignore[operator, union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_scaled, r"layer blocks\.1\.out add up to [\d,.]+, and exact sums .* up to 512"),
        (_hooked, r"blocks\.1\.out has a hook"),
        (_pruned, r"blocks\.1\.out has a hook"),
        (_foreign, r"blocks\.3 is of the class Mine"),
        (_damaged, r"blocks\.1\.out\.weight of the model is not finite"),
        (_unscaled, r"encoder\.factor of the model is not finite"),
    ],
)
def test_a_model_that_cannot_be_exact_is_refused(
    change: Callable[[ImageModel], None], said: str
) -> None:
    model = build("gated-vector" if change is _unscaled else "gated")
    change(model)
    with pytest.raises(UsageError, match=said):
        exact(model)


def test_a_fingerprint_is_of_the_integers_and_of_what_is_no_default() -> None:
    model = build("gated")
    mine = fingerprint(exact(model))
    assert fingerprint(exact(exact(model))) == mine  # exact arithmetic of exact weights
    with torch.no_grad():
        weight = model.blocks[0].out.weight.data  # type: ignore[index, union-attr]
        weight.copy_((weight * 4096).round() / 4096 + 1e-5)
    nearly = fingerprint(exact(model))
    weight += 2**-12
    assert fingerprint(exact(model)) != nearly
    assert fingerprint(exact(build("gated-classes"))) != mine


@pytest.mark.parametrize("name", ["gated-rgb", "gated-binary", "gated-logistic"])
def test_a_number_belongs_to_the_value_whose_frequencies_hold_it(name: str) -> None:
    model = exact(build(name))
    x, values = images(model, 2, (4, 3)), given(model, 2, (4, 3))
    some = cumulative(model(x, values), x, model.channels - 1)
    rows, last = some.rows(), (1 << precision(model.levels)) - 1
    every = np.arange(model.levels + 1)
    assert np.array_equal(some.at(np.broadcast_to(every, rows.shape)), rows)
    inside, find = np.random.default_rng(0).integers(last, size=len(rows)), some.finder()
    for value in range(model.levels):
        for numbers in (rows[:, value], rows[:, value + 1] - 1, inside, np.full(len(rows), last)):
            found = [find(site, number) for site, number in enumerate(numbers.tolist())]
            values = np.count_nonzero(rows <= numbers[:, None], axis=1) - 1
            bounds = [rows[np.arange(len(rows)), v] for v in (values, values + 1)]
            assert np.array_equal(found, np.stack([values, *bounds], axis=1))


def test_frequencies_of_mixtures_are_those_of_the_format() -> None:
    """By plain integers, as docs/reference/format.md has them; means lie far apart and far out."""
    levels, n, generator = 300, 12, torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 0.6, 0.6, 3.0, 3.0, 1.0])[:, None].expand(-1, 10).flatten()
    outputs = torch.randn(n, 60, dtype=torch.float64, generator=generator) * scale
    outputs[:, 30:50] -= 3
    outputs[:3, 10:30], outputs[:3, 30:50] = 0.3, -6
    outputs[3, 10:30] *= 100
    outputs = Dyadic().rounded(outputs, 16)
    values = torch.randint(levels, (2, n), generator=generator).numpy()
    distribution = LogisticMixture(outputs[:, :, None, None], 2, levels)
    every = np.broadcast_to(np.arange(levels + 1), (n, levels + 1))
    found = [(some.at(every), some) for some in every_cumulative(distribution, values)]
    for site, numbers in enumerate((outputs * 2**16).long().view(n, 6, 10).tolist()):
        for colour, right in enumerate(slowly(numbers, values[:, site].tolist(), levels)):
            rows, some = found[colour]
            assert rows[site].tolist() == right
            find = some.finder()
            for value in range(0, levels, 7):
                for number in (right[value], right[value + 1] - 1):
                    assert find(site, number) == (value, right[value], right[value + 1])


def slowly(parts: list[list[int]], values: list[int], levels: int) -> Iterator[list[int]]:
    """F of both colours of a site."""
    powers, sigma = tables.exponential().tolist(), tables.logistic().tolist()
    scales = tables.inverse_scales().tolist()
    tanh = (tables.squashing(CPU)[: 2 * tables.WIDEST + 1] * 4096).long().tolist()

    def clip(number: int, most: int) -> int:
        return max(-most, min(most, number))

    def below(value: int, mean: int, inverse: int) -> int:
        edge = ((2 * value - 1) * 2**29 + levels - 1) // (2 * (levels - 1)) - 2**28
        u = max(-(2**22), min(2**22 - 1, clip((edge - mean) >> 8, 2**23) * inverse >> 22))
        k, rest = (u >> 8) + tables.SHARPEST, u & 255
        return sigma[k] + ((sigma[k + 1] - sigma[k]) * rest >> 8)

    weights = [powers[min((max(parts[0]) - z) >> 6, len(powers) - 1)] for z in parts[0]]
    first = (values[0] * 2**18 + levels - 1) // (2 * (levels - 1)) - 2**16
    for colour in range(2):
        means = [mean << 12 for mean in parts[1 + colour]]
        if colour:
            of = [tanh[clip(c >> 6, tables.WIDEST) + tables.WIDEST] for c in parts[5]]
            means = [mean + c * first for mean, c in zip(means, of, strict=True)]
        inverse = [scales[clip(s >> 6, 7168) + 7168] for s in parts[3 + colour]]
        mass = [
            [0, *(below(v, mean, i) for v in range(1, levels)), 2**28]
            for mean, i in zip(means, inverse, strict=True)
        ]
        counts = [
            sum(w * m[v] for w, m in zip(weights, mass, strict=True)) >> 21
            for v in range(levels + 1)
        ]
        spread = (1 << precision(levels)) - levels
        yield [v + count * spread // counts[-1] for v, count in enumerate(counts)]
        x = values[colour]
        joint = [w * (m[x + 1] - m[x]) for w, m in zip(weights, mass, strict=True)]
        bits = max(joint).bit_length()
        shifted = [j << max(0, 28 - bits) >> max(0, bits - 28) for j in joint]
        weights = shifted if any(joint) else weights


@pytest.mark.parametrize("at_once", [5, 40, 1000])
def test_an_exact_convolution_is_that_of_torch_in_blocks_of_any_size(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpixel.codec.exact._SUMS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    x = Dyadic().rounded(torch.randn(3, 20, 6, 5, dtype=torch.float64, generator=generator), 10)
    for rows, columns in ((3, 5), (1, 2), (2, 3)):
        weight = torch.randn(4, 20, rows, columns, dtype=torch.float64, generator=generator)
        weight, beside = Dyadic().rounded(weight, 12), columns // 2
        weight[:, :, -1, -1] = 0  # as a mask does
        for bias in (None, weight[:, 0, 0, 0]):
            padded = nn.functional.pad(x, (beside, beside))
            right = nn.functional.conv2d(padded, weight, bias)
            assert torch.equal(Dyadic().convolved(x, weight, bias, beside), right)
            assert torch.equal(Dyadic().convolved(padded, weight, bias, 0, beside), right)


def test_gates_are_products_of_the_tables_at_rounded_sums() -> None:
    units = torch.tensor([-(1 << 21), -13000, -12288, -1, 0, 1, 700, 12287, 12288, 1 << 21])
    # Ties go to even multiples of 2^-10, and sums have up to 28 places.
    sums = torch.cat([(units + d) / 1024 for d in (0, 0.5, -0.5, 2**-18, 0.5 - 2**-18)]).double()
    y = torch.stack([sums, sums.flip(0)], dim=1)
    places = (y * 1024).round().clamp(-12288, 12288) / 1024
    values = (torch.stack([places[:, 0].tanh(), places[:, 1].sigmoid()]) * 4096).round() / 4096
    right = ((values[0] * values[1]) * 1024).round() / 1024
    assert torch.equal(Dyadic().gate(y.clone())[:, 0], right)
    assert torch.equal(Dyadic().gate(y.T[None, :, None].contiguous())[0, 0, 0], right)


class Fixed(Cumulative):
    """Distributions with given bounds."""

    def __init__(self, bounds: np.ndarray) -> None:
        self.bounds, self.levels = bounds, bounds.shape[1] - 1

    def __len__(self) -> int:
        return len(self.bounds)

    def part(self, sites: slice | np.ndarray) -> "Fixed":
        return Fixed(self.bounds[sites])

    def at(self, values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self.bounds, values, axis=1)

    def finder(self) -> Finder:
        def find(site: int, number: int) -> tuple[int, int, int]:
            row = self.bounds[site].tolist()
            value = int(np.searchsorted(row, number, side="right")) - 1
            return value, row[value], row[value + 1]

        return find


@pytest.mark.parametrize("lanes", [1, 3, 9, 64])
def test_the_coder_restores_symbols_in_any_portions(lanes: int) -> None:
    random = np.random.default_rng(0)
    levels, n = 7, 500
    places = precision(levels)
    inner = np.sort(random.choice((1 << places) - 1, (n, levels - 1)) + 1, axis=1)
    inner[:, -1] = (1 << places) - 1  # the last value has a frequency of one
    inner[:, :-1] = np.minimum(inner[:, :-1], (1 << places) - levels) + np.arange(levels - 2)
    bounds = np.concatenate([np.zeros((n, 1), int), inner, np.full((n, 1), 1 << places)], axis=1)
    assert (np.diff(bounds) > 0).all()
    values = random.integers(levels, size=n)
    start, stop = bounds[np.arange(n), values], bounds[np.arange(n), values + 1]
    data = encode(start, stop - start, levels, lanes)
    decoder, found, at = Decoder(data, levels, lanes), [], 0
    while at < n:
        some = slice(at, at + int(random.integers(1, 40)))
        found.append(decoder.decode(Fixed(bounds[some])))
        at = some.stop
    decoder.finish()
    assert np.array_equal(np.concatenate(found), values)
    bits = (places - np.log2(stop - start)).sum()
    assert len(data) * 8 < bits * 1.0001 + 64 * lanes
    with pytest.raises(CodecError):
        cut = Decoder(data[:-4], levels, lanes)
        cut.decode(Fixed(bounds))
        cut.finish()


def test_a_stream_has_these_bytes() -> None:
    assert (
        encode(np.array([0, 100]), np.array([100, 156]), 256, 1).hex() == "4900001902000000e4000020"
    )


@pytest.mark.parametrize("name", ["gated-all-conditions", "multi-scale-rgb-classes", "autoencoder"])
def test_images_and_their_conditions_are_restored(name: str) -> None:
    model, size = build(name), sizes(name)
    x = images(model, 5, size)
    condition = None if name == "autoencoder" else conditions(model, 5, size)
    data = compress(model, x, condition, together=2)
    assert torch.equal(decompress(model, data), x)
    assert data == compress(model, x, condition, together=2)
    with pytest.raises(CodecError, match="another model"):
        decompress(build("gated"), data)
    nothing = None if name == "autoencoder" else unknown(model.conditions, 5, size)
    data = compress(model, x, nothing)
    torch.set_default_dtype(torch.float64)
    try:
        again = None if name == "autoencoder" else unknown(model.conditions, 5, size)
        assert compress(model, x, again) == data
    finally:
        torch.set_default_dtype(torch.float32)


GOLDEN = {
    "mnist": 0xFB1A64C8,
    "mnist-gated-pixel-cnn": 0xFB1A64C8,
    "mnist-pixel-cnn": 0xFB1A64C8,
    "mnist-row-lstm": 0xFB1A64C8,
    "patches": 0x317D706E,
}
"""CRC-32 of the pixels in files that another machine made with pretrained models."""


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_streams_are_decoded_and_made_again(name: str) -> None:
    data, model = (FIXTURES / f"{name}.npx").read_bytes(), nextpixel.load(name)
    x = decompress(model, data)
    assert zlib.crc32(x.numpy().astype("u1").tobytes()) == GOLDEN[name]
    assert compress(model, x) == data


AGAIN = """
import sys
from pathlib import Path
import nextpixel
for name in sys.argv[2:]:
    data, model = Path(sys.argv[1], name + ".npx").read_bytes(), nextpixel.load(name)
    assert nextpixel.compress(model, nextpixel.decompress(model, data)) == data
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine",
    [
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
        {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Haswell"},
    ],
    ids=["plain", "avx2", "compatible"],
)
def test_golden_streams_on_other_processors(machine: dict[str, str]) -> None:
    command = [sys.executable, "-c", AGAIN, str(FIXTURES), *GOLDEN]
    subprocess.run(command, env=os.environ | machine, check=True)


def patterned(name: str) -> ImageModel:
    """A case whose weights follow from integers alone."""
    model = build(name)
    with torch.no_grad():
        for parameter in model.parameters():
            places = torch.arange(parameter.numel()).view(parameter.shape)
            parameter.copy_((places * 7919 % 255 - 127) / 512)
    return model


@pytest.mark.parametrize(
    "name", ["gated-logistic", "multi-scale-rgb-classes", "gated-all-conditions"]
)
def test_golden_streams_of_every_head_and_condition(name: str) -> None:
    model, file = patterned(name), FIXTURES / f"{name}.npx"
    x = torch.arange(2 * model.channels * 30).view(2, -1, 5, 6) * 131 % 7 % model.levels
    values = conditions(model, 2, (5, 6))
    rounded = tuple(v if v.dtype == torch.int64 else (v * 16).round() / 16 for v in values)
    assert compress(model, x, rounded) == file.read_bytes()
    assert torch.equal(decompress(model, file.read_bytes()), x)


def test_what_a_model_makes_larger_is_stored_plainly() -> None:
    torch.manual_seed(0)
    model = PixelCNN(levels=256, features=4, layers=1)
    x = torch.zeros(1, 1, 40, 40, dtype=torch.int64)
    data = compress(model, x)
    assert len(data) < 100 and torch.equal(decompress(model, data), x)
    nothing = torch.zeros(0, 1, 5, 5, dtype=torch.int64)
    assert len(decompress(model, compress(model, nothing))) == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:40], "truncated"),
        (lambda data: data[:-9] + data[-8:], "damaged|truncated"),
        (lambda data: b"PNG" + data, "not a file that nextpixel compressed"),
        (lambda data: b"", "not a file that nextpixel compressed"),
        (lambda data: data[:8] + b"\x02" + data[9:], "newer"),
        (lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], "header is damaged"),
    ],
)
def test_damage_is_named(damage: Callable[[bytes], bytes], said: str) -> None:
    model = build("gated")
    data = compress(model, images(model, 2, (4, 4)))
    with pytest.raises(CodecError, match=said):
        decompress(model, damage(data))


def _damaged_in(random: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        match random.integers(4):
            case 0:
                changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
            case 1:
                changed[random.integers(len(changed))] = int(random.integers(256))
            case 2 if len(changed) > 2:
                del changed[random.integers(len(changed)) :]
            case _:
                changed.insert(random.integers(len(changed) + 1), int(random.integers(256)))
        if not changed:
            break
    return bytes(changed)


def fuzz(count: int) -> None:
    """Damages files, and bodies of blocks as if their checksums were right."""
    model = GatedPixelCNN(levels=4, features=4, layers=1, kernel_size=3)
    x = images(model, 3, (3, 3))
    random, coder = np.random.default_rng(0), Coder(model)
    data = compress(model, x)
    kind, body = coder.encode(x, ())
    for number in range(count):
        try:
            if number % 2:
                found = decompress(model, _damaged_in(random, data))
            else:
                found = coder.decode(kind, _damaged_in(random, body), len(x))
        except CodecError:
            continue
        assert torch.equal(found, x)


def test_damaged_data_is_never_a_wrong_picture() -> None:
    fuzz(200)


@pytest.mark.slow
def test_much_damaged_data_is_never_a_wrong_picture() -> None:
    fuzz(10_000)
