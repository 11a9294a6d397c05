"""Masks by expectation and property; layers against plain loops, in full, by rows and by sites."""

import itertools
import math
from collections.abc import Sequence

import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import forward_ad

from nextpixel.cache import Cache
from nextpixel.front.skew import Skew
from nextpixel.layers.diagonal_lstm import DiagonalBiLSTMLayer
from nextpixel.layers.gated import gate
from nextpixel.layers.masked_conv import FirstConv2d, MaskedConv2d
from nextpixel.layers.masks import MaskType, colour_mask
from nextpixel.layers.row_lstm import RowLSTMLayer
from nextpixel.layers.row_scan import row_scan
from nextpixel.layers.scan import Fronts, diagonal_fronts, lstm_scan, row_fronts
from nextpixel.layers.vertical_conv import VerticalConv2d
from nextpixel.settings.sizes import check_kernel_size, check_width

CONVS = [
    pytest.param(channels, kernel_size, mask_type, id=f"C{channels}-k{kernel_size}-{mask_type}")
    for channels, kernel_size, mask_type in itertools.product([1, 2, 3], [1, 3, 5], ["A", "B"])
    if not (mask_type == "A" and kernel_size == 1)
]


def test_colour_mask_of_rgb_is_the_papers() -> None:
    assert colour_mask(3, 6, 3, "A").int().tolist() == [
        [0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
    ]
    assert colour_mask(3, 6, 3, "B").int().tolist() == [
        [1, 0, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]
    assert not colour_mask(4, 2, 1, "A").any()
    assert colour_mask(4, 2, 1, "B").all()


@given(
    channels=st.integers(1, 5),
    reader=st.integers(1, 4),
    source=st.integers(1, 4),
    gates=st.sampled_from([2, 4]),
)
def test_colour_masks_order_colours_and_survive_chunking(
    channels: int, reader: int, source: int, gates: int
) -> None:
    outputs, inputs = reader * channels, source * channels
    a, b = colour_mask(outputs, inputs, channels, "A"), colour_mask(outputs, inputs, channels, "B")
    for o, i in itertools.product(range(outputs), range(inputs)):
        assert a[o, i] == (i % channels < o % channels)
        assert b[o, i] == (i % channels <= o % channels)
    for part in colour_mask(gates * outputs, inputs, channels, "B").chunk(gates):
        assert torch.equal(part, b)


@given(width=st.integers(-3, 50), channels=st.integers(2, 5))
def test_widths_must_be_multiples_of_channels(width: int, channels: int) -> None:
    if width > 0 and width % channels == 0:
        check_width("features", width, channels)
    else:
        with pytest.raises(
            ValueError, match=rf"features= must .* channels= \({channels}\), not {width}; use \d+"
        ):
            check_width("features", width, channels)


@pytest.mark.parametrize("size", [-1, 0, 2, 4])
def test_kernels_must_be_odd(size: int) -> None:
    with pytest.raises(ValueError, match=rf"kernel_size= must be an odd number .*, not {size}"):
        check_kernel_size("kernel_size", size)


def test_mask_a_needs_a_neighbour() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        MaskedConv2d(1, 2, 1, channels=1, mask_type="A")


@pytest.mark.parametrize(("channels", "kernel_size", "mask_type"), CONVS)
def test_masked_conv_equals_plain_loops(
    channels: int, kernel_size: int, mask_type: MaskType
) -> None:
    layer = MaskedConv2d(
        2 * channels, 4 * channels, kernel_size, channels=channels, mask_type=mask_type
    ).double()
    torch.nn.init.normal_(layer.bias)
    x, onto = (
        torch.randn(2, 2 * channels, 3, 5).double(),
        torch.randn(2, 4 * channels, 3, 5).double(),
    )
    expected = reference.masked_conv(layer, x)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x, onto=onto), expected + onto)


@pytest.mark.parametrize(("channels", "kernel_size", "mask_type"), CONVS)
@pytest.mark.parametrize("add", [False, True])
@torch.no_grad()
def test_masked_conv_at_fronts_equals_full(
    channels: int, kernel_size: int, mask_type: MaskType, add: bool
) -> None:
    layer = MaskedConv2d(
        2 * channels, 4 * channels, kernel_size, channels=channels, mask_type=mask_type
    ).double()
    torch.nn.init.normal_(layer.bias)
    x, onto = (
        torch.randn(2, 2 * channels, 3, 5).double(),
        torch.randn(2, 4 * channels, 3, 5).double(),
    )
    full = layer(x, onto=onto if add else None)
    cache = Cache(2, channels, 3, 5)
    at_fronts = _by_fronts(
        layer, cache, range(3), x, onto if add else None, previous=mask_type == "A"
    )
    torch.testing.assert_close(at_fronts, full)


def _by_fronts(
    layer: MaskedConv2d,
    cache: Cache,
    rows: range,
    x: torch.Tensor,
    onto: torch.Tensor | None,
    *,
    previous: bool = False,
) -> torch.Tensor:
    """Some rows of a layer's output, computed two rows at a time with a lag of 5."""
    batch, features, height, width = x.shape
    channels = layer.channels
    skew = Skew(rows, width, slots=2, lag=5, lead=0)
    front = cache.enter(skew, torch.zeros(batch, channels, height, width), x.dtype)
    y = torch.zeros(batch, len(layer.weight), len(rows), width, dtype=x.dtype)
    read = x.new_zeros(front.lanes, features // channels)
    added = None if onto is None else x.new_zeros(front.lanes, len(layer.weight) // channels)
    for time, channel in itertools.product(skew.times, range(channels)):
        row, column, alive = (m[0] for m in skew.pixels(torch.tensor([time])))
        front.move_to(time, channel)
        source = channel
        if previous:
            source, column = (channel - 1, column) if channel else (channels - 1, column - 1)
        # Lanes are slot by slot.
        part = x[:, source::channels, row, column.clamp(min=0)].permute(2, 0, 1)
        read.copy_(part.flatten(0, 1))
        row, column, alive = (m[0] for m in skew.pixels(torch.tensor([time])))
        if onto is not None and added is not None:
            added.copy_(onto[:, channel::channels, row, column].permute(2, 0, 1).flatten(0, 1))
        found = front.again()
        if found is None:
            found = front.first(
                lambda: layer(read, cache, onto=added), lambda result: result, lasting=True
            )
        of_slots = found.view(skew.slots, batch, -1)[alive].permute(1, 2, 0)
        y[:, channel::channels, row[alive] - rows.start, column[alive]] = of_slots
    return y


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (3, 3), (2, 5)])
@torch.no_grad()
def test_square_masked_conv_equals_plain_loops_in_full_by_rows_and_by_fronts(
    channels: int, kernel_size: int
) -> None:
    layer = MaskedConv2d(
        2 * channels,
        4 * channels,
        kernel_size,
        channels=channels,
        mask_type="B",
        rows_above=kernel_size // 2,
    ).double()
    torch.nn.init.normal_(layer.bias)
    x, onto = (
        torch.randn(2, 2 * channels, 6, 5).double(),
        torch.randn(2, 4 * channels, 6, 5).double(),
    )
    full = reference.masked_conv(layer, x) + onto
    torch.testing.assert_close(layer(x, onto=onto), full)
    # Two rows at once, two by fronts, the others at once again: a walk that takes in known rows.
    cache = Cache(2, channels, 6, 5)
    cache.move_to_rows(0, 2)
    torch.testing.assert_close(layer(x[:, :, :2], cache, onto=onto[:, :, :2]), full[:, :, :2])
    at_fronts = _by_fronts(layer, cache, range(2, 4), x, onto)
    torch.testing.assert_close(at_fronts, full[:, :, 2:4])
    cache.move_to_rows(4, 6)
    torch.testing.assert_close(layer(x[:, :, 4:], cache, onto=onto[:, :, 4:]), full[:, :, 4:])


@pytest.mark.parametrize("channels", [1, 3])
def test_first_conv_reads_the_square_before_the_pixel(channels: int) -> None:
    layer = FirstConv2d(channels, 2 * channels, 5, channels=channels).double()
    x = torch.randn(1, channels, 5, 6).double()
    below = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1]
    expected = reference.masked_conv(layer.left, x) + reference.vertical_conv(layer.above, below)
    torch.testing.assert_close(layer(x, lambda: below), expected)
    with pytest.raises(ValueError, match="mask type A takes no rows above"):
        MaskedConv2d(1, 2, 3, channels=1, mask_type="A", rows_above=1)


def scan_arguments(fronts: Fronts, size: tuple[int, int], features: int = 2) -> list[torch.Tensor]:
    """Random weight, borders and input-to-state maps."""
    torch.manual_seed(0)
    directions, borders = len(fronts.cells), len(fronts.border)
    weight = torch.randn(directions, fronts.taps, features, 4 * features).double() * 0.5
    border = [torch.randn(directions, borders, 2, features).double() for _ in range(2)]
    return [
        weight,
        *border,
        *(torch.randn(2, 4 * features, *size).double() for _ in range(directions)),
    ]


SCANS = [
    pytest.param(row_fronts(3, 4, 3), (3, 4), id="rows"),
    pytest.param(row_fronts(2, 3, 5), (2, 3), id="rows-wide-kernel"),
    pytest.param(diagonal_fronts(3, 2), (3, 2), id="diagonals-tall"),
    pytest.param(diagonal_fronts(2, 4), (2, 4), id="diagonals-wide"),
    pytest.param(diagonal_fronts(1, 3), (1, 3), id="diagonals-row"),
    pytest.param(diagonal_fronts(3, 1), (3, 1), id="diagonals-column"),
]


def scan(
    z: Sequence[torch.Tensor],
    weight: torch.Tensor,
    h: torch.Tensor,
    c: torch.Tensor,
    fronts: Fronts,
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Rows have a scan of their own."""
    if len(z) > 1:
        return lstm_scan(z, weight, h, c, fronts)
    above = (border[0].transpose(0, 1) for border in (h, c))
    states, last = row_scan(z[0], weight[0], *above)
    return (states,), last.transpose(0, 1)[None]


@pytest.mark.parametrize(("fronts", "size"), SCANS)
def test_both_scans_are_the_recurrence_in_plain_operations(
    fronts: Fronts, size: tuple[int, int]
) -> None:
    weight, h, c, *z = scan_arguments(fronts, size)
    with forward_ad.dual_level():  # where there is forward mode, operations are plain
        expected, expected_last = lstm_scan(z, weight, h, c, fronts)
    found, last = scan(z, weight, h, c, fronts)
    for one, other in zip([*found, last], [*expected, expected_last], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("fronts", "size"), SCANS)
def test_the_gradients_of_the_scan_are_its_derivatives(
    fronts: Fronts, size: tuple[int, int]
) -> None:
    arguments = [argument.requires_grad_() for argument in scan_arguments(fronts, size)]
    assert torch.autograd.gradcheck(lambda w, h, c, *z: scan(z, w, h, c, fronts)[0], arguments)


@pytest.mark.parametrize(("fronts", "size"), SCANS[:4])
def test_the_scan_in_half_precision_is_close(fronts: Fronts, size: tuple[int, int]) -> None:
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        weight, h, c, *z = (
            a.float().requires_grad_() for a in scan_arguments(fronts, size, features=8)
        )
        states, _ = scan([m.to(dtype) for m in z], weight, h, c, fronts)
        torch.stack([s.float().square().sum() for s in states]).sum().backward()
        results.append([weight.grad, h.grad, c.grad, *(m.grad for m in z), *states])
    for exact, rounded in zip(*results, strict=True):
        assert exact is not None and rounded is not None
        assert float((exact - rounded.float()).detach().norm() / exact.detach().norm()) < 0.03


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_vertical_conv_equals_plain_loops_also_a_few_rows_at_a_time(kernel_size: int) -> None:
    layer = VerticalConv2d(2, 3, kernel_size).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 6, 5).double()
    expected = reference.vertical_conv(layer, x)
    torch.testing.assert_close(layer(x), expected)
    cache = Cache(2, 1, 6, 5)
    torch.testing.assert_close(
        torch.cat([layer(part, cache) for part in x.split([1, 3, 2], dim=2)], dim=2), expected
    )


@given(channels=st.integers(1, 4), reach=st.integers(1, 3), mask_type=st.sampled_from(["A", "B"]))
def test_initial_weights_keep_the_variance(channels: int, reach: int, mask_type: MaskType) -> None:
    layer = MaskedConv2d(
        8 * channels, 64 * channels, 2 * reach + 1, channels=channels, mask_type=mask_type
    )
    y = layer(torch.randn(64, 8 * channels, 4, 8))[:, :, :, reach:]
    assert (
        0.7 < float(y.detach().var()) < 1.4
    )  # 300,000 outputs of 512 random filters: 6 standard deviations and more


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (1, 7), (3, 5)])
def test_both_parts_of_a_first_convolution_have_weights_of_one_size(
    channels: int, kernel_size: int
) -> None:
    """They are one kernel, whose parts above and to the left are told apart for speed alone."""
    conv = FirstConv2d(channels, 300 * channels, kernel_size, channels=channels)
    reach = kernel_size // 2
    left = conv.left.weight[..., :reach].detach()
    above = conv.above.weight.detach()
    assert above[0, 0].numel() == reach * kernel_size
    assert float(left.std() / above.std()) == pytest.approx(1, abs=0.1 if channels == 1 else 0.3)
    x = torch.randn(8, channels, 9, 40)
    below = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1]
    y = conv(x, lambda: below)[:, :, reach:, reach:-reach]
    assert 0.7 < float(y.detach().var()) < 1.4


@pytest.mark.parametrize("kind", [RowLSTMLayer, DiagonalBiLSTMLayer])
def test_memory_lasts_at_first(kind: type[RowLSTMLayer] | type[DiagonalBiLSTMLayer]) -> None:
    """Without weights, a cell keeps σ(1) of its state at every step, and adds nothing."""
    kernels = {"kernel_size": 3} if kind is RowLSTMLayer else {}
    layer = kind(4, channels=1, widths=None, **kernels)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "bias" not in name:
                parameter.zero_()
        layer.initial_c.fill_(2.0)
    y = layer(torch.randn(2, 8, 3, 1), None, None, lambda _: torch.zeros(2, 1, 3, 1)).detach()
    kept = 2.0 * torch.sigmoid(torch.tensor(1.0))  # of a map of one column, whose first row is new
    torch.testing.assert_close(y[:, :, 0], torch.full((2, 4, 1), 0.5 * math.tanh(kept)))


def test_gate_is_equation_2() -> None:
    torch.testing.assert_close(
        gate(torch.tensor([[0.5, -1.0, 2.0, 0.0]])),
        torch.tanh(torch.tensor([[0.5, -1.0]])) / (1 + torch.exp(-torch.tensor([[2.0, 0.0]]))),
    )


def test_cache_refuses_to_go_back_or_to_jump() -> None:
    cache = Cache(1, 1, 4, 4)
    cache.move_to_rows(0, 2)
    with pytest.raises(ValueError, match="expected row 2, received 3"):
        cache.move_to_rows(3, 4)
    with pytest.raises(ValueError, match="expected row 2, received 1"):
        cache.move_to_rows(1, 2)
