"""Masks by literal expectation and by property; layers against plain loops, in full, over rows and at sites."""

import itertools

import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextpixel.cache import Cache, raster_order
from nextpixel.layers.gated import gate
from nextpixel.layers.masked_conv import MaskedConv2d, VerticalConv2d
from nextpixel.layers.masks import MaskType, check_kernel_size, check_width, colour_mask

CONVS = [
    pytest.param(channels, kernel_size, mask_type, id=f"C{channels}-k{kernel_size}-{mask_type}")
    for channels, kernel_size, mask_type in itertools.product([1, 2, 3], [1, 3, 5], ["A", "B"])
    if not (mask_type == "A" and kernel_size == 1)
]


def test_colour_mask_of_rgb_is_the_papers() -> None:
    assert colour_mask(3, 6, 3, "A").int().tolist() == [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [1, 1, 0, 1, 1, 0]]
    assert colour_mask(3, 6, 3, "B").int().tolist() == [[1, 0, 0, 1, 0, 0], [1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert not colour_mask(4, 2, 1, "A").any()
    assert colour_mask(4, 2, 1, "B").all()


@given(channels=st.integers(1, 5), reader=st.integers(1, 4), source=st.integers(1, 4), gates=st.sampled_from([2, 4]))
def test_colour_masks_order_colours_and_survive_chunking(channels: int, reader: int, source: int, gates: int) -> None:
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
        with pytest.raises(ValueError, match=rf"features \(={width}\) .* channels \(={channels}\); use \d+"):
            check_width("features", width, channels)


@pytest.mark.parametrize("size", [-1, 0, 2, 4])
def test_kernels_must_be_odd(size: int) -> None:
    with pytest.raises(ValueError, match=rf"kernel_size \(={size}\) must be an odd number"):
        check_kernel_size("kernel_size", size)


def test_mask_a_needs_a_neighbour() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        MaskedConv2d(1, 2, 1, channels=1, mask_type="A")


@pytest.mark.parametrize(("channels", "kernel_size", "mask_type"), CONVS)
def test_masked_conv_equals_plain_loops(channels: int, kernel_size: int, mask_type: MaskType) -> None:
    layer = MaskedConv2d(2 * channels, 4 * channels, kernel_size, channels=channels, mask_type=mask_type).double()
    torch.nn.init.normal_(layer.bias)
    x, onto = torch.randn(2, 2 * channels, 3, 5).double(), torch.randn(2, 4 * channels, 3, 5).double()
    expected = reference.masked_conv(layer, x)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x, onto=onto), expected + onto)


@pytest.mark.parametrize(("channels", "kernel_size", "mask_type"), CONVS)
@pytest.mark.parametrize("add", [False, True])
@torch.no_grad()
def test_masked_conv_at_sites_equals_full(channels: int, kernel_size: int, mask_type: MaskType, add: bool) -> None:
    layer = MaskedConv2d(2 * channels, 4 * channels, kernel_size, channels=channels, mask_type=mask_type).double()
    torch.nn.init.normal_(layer.bias)
    x, onto = torch.randn(2, 2 * channels, 3, 5).double(), torch.randn(2, 4 * channels, 3, 5).double()
    full = layer(x, onto=onto if add else None)
    cache = Cache(2, channels, 3, 5)
    for site in raster_order(channels, 3, 5):
        cache.move_to_site(site)
        channel, row, column = site
        source = cache.previous_site() if mask_type == "A" else site
        read = torch.zeros(2, 2).double() if source is None else x[:, source[0] :: channels, source[1], source[2]]
        at_site = layer(read, cache, onto=onto[:, channel::channels, row, column] if add else None)
        torch.testing.assert_close(at_site, full[:, channel::channels, row, column])


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_vertical_conv_equals_plain_loops_also_a_few_rows_at_a_time(kernel_size: int) -> None:
    layer = VerticalConv2d(2, 3, kernel_size).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 6, 5).double()
    expected = reference.vertical_conv(layer, x)
    torch.testing.assert_close(layer(x), expected)
    cache = Cache(2, 1, 6, 5)
    torch.testing.assert_close(torch.cat([layer(part, cache) for part in x.split([1, 3, 2], dim=2)], dim=2), expected)


@settings(deadline=None)
@given(channels=st.integers(1, 4), reach=st.integers(1, 3), mask_type=st.sampled_from(["A", "B"]))
def test_initial_weights_keep_the_variance(channels: int, reach: int, mask_type: MaskType) -> None:
    layer = MaskedConv2d(8 * channels, 64 * channels, 2 * reach + 1, channels=channels, mask_type=mask_type)
    y = layer(torch.randn(64, 8 * channels, 4, 8))[:, :, :, reach:]
    assert 0.7 < float(y.detach().var()) < 1.4  # 300,000 outputs of 512 random filters: 6 standard deviations and more


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
