"""Fronts give what raster order gives, whatever is known; and only what is needed is computed."""

from typing import Any

import pytest
import torch
from cases import CASES, REPEATS, build, conditions, images

from nextpixel import GatedPixelCNN, PixelCNN, RowLSTM, complete
from nextpixel.conditions.values import Values
from nextpixel.front.skew import Reach, Skew
from nextpixel.lane_laws import inverse_cdf
from nextpixel.models.core import ImageModel
from nextpixel.particles import uniform
from nextpixel.walk import fronts, walk

SHAPES = [(5, 11), (9, 4), (7, 7), (1, 9), (10, 1)]
"""Narrower than the lag and wider, fewer rows than slots and more. Cases take turns."""

in_turns = pytest.mark.parametrize(
    ("name", "turn"),
    [
        pytest.param(name, turn, id=name, marks=pytest.mark.slow if name in REPEATS else ())
        for turn, name in enumerate(CASES)
    ],
)


@in_turns
@torch.no_grad()
def test_fronts_equal_the_full_pass_and_read_nothing_later(name: str, turn: int) -> None:
    model, shape, batch = build(name), SHAPES[turn % len(SHAPES)], 1 + turn % 3
    x, condition = images(model, batch, shape), conditions(model, batch, shape)
    law = model(x, condition)
    blank, seen = torch.zeros_like(x), torch.zeros(x.shape[1:], dtype=torch.int64)
    for sites, log_pmf in fronts(model, blank, condition):
        here = (slice(None), sites.channel, sites.rows, sites.columns)
        full = law.log_pmf(x, sites.channel)[:, :, sites.rows, sites.columns].transpose(1, 2)
        torch.testing.assert_close(log_pmf, full, rtol=1e-10, atol=1e-10)
        blank[here] = x[here]
        seen[here[1:]] += 1
    assert (seen == 1).all()


@in_turns
def test_a_completion_equals_that_site_by_site(name: str, turn: int) -> None:
    model, shape, batch = build(name), (7, 4), 1 + turn % 2
    x, condition = images(model, batch, shape), conditions(model, batch, shape)
    generator = torch.Generator().manual_seed(turn)
    known = torch.rand(x.shape, generator=generator) < 0.4
    known[:, :, 1:4] = known[:, :, -1:] = known[:, :, :, 3] = True
    assert torch.equal(*_both(model, x, known, condition))


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("gated", "nothing"),
        ("gated", "holes"),
        ("gated-rgb", "one colour"),
        ("pixel-cnn", "scratch"),
        ("row-lstm", "holes"),
        ("multi-scale-nested", "scratch"),
    ],
)
def test_any_mask(name: str, mask: str) -> None:
    model = build(name)
    x = images(model, 2, (17, 16))
    known = torch.ones(x.shape, dtype=torch.bool)
    if mask == "nothing":
        known[:] = False
    elif mask == "holes":  # some in the fields of others, some not, not the same in all images
        known[:, :, 1:3, 2:4] = known[0, :, 5, 13] = known[1, :, 14:16, :2] = False
        known[:, :, 14, 12:] = False
    elif mask == "scratch":
        known[:, :, torch.arange(16), torch.arange(16)] = False
    else:
        known[:, -1, 4:9, 3:8] = False
    assert torch.equal(*_both(model, x, known, conditions(model, 2, (17, 16))))


def _both(
    model: ImageModel, x: torch.Tensor, known: torch.Tensor, condition: Values
) -> tuple[torch.Tensor, torch.Tensor]:
    """A completion by the library, and one by the plainest loop."""
    noise = uniform(x.shape, torch.Generator().manual_seed(9)).double()
    plain = x.masked_fill(~known, 0)
    for site, log_pmf in walk(model, plain, condition):
        here = (slice(None), *site)
        drawn = inverse_cdf(log_pmf, noise[here])
        plain[here] = torch.where(known[here], plain[here], drawn)
    generator = torch.Generator().manual_seed(9)
    order = model.orders[0]
    options = {"particles": 1, "condition": condition, "order": order, "generator": generator}
    drawn = complete(model, x, known, **options)
    return drawn[:, 0], plain


@pytest.mark.parametrize(
    ("family", "channels", "kernels"),
    [
        (GatedPixelCNN, 1, (3, 7)),
        (GatedPixelCNN, 3, (5, 3)),
        (PixelCNN, 1, (3, 5)),
        (RowLSTM, 2, (7, 3)),
    ],
)
@torch.no_grad()
def test_the_lag_is_enough_for_any_kernels(
    family: type[ImageModel], channels: int, kernels: tuple[int, int]
) -> None:
    """Many more times than a block has, so that all is recorded, and repeated."""
    features = 2 * channels
    model = family(  # type: ignore[call-arg]
        channels=channels,
        levels=3,
        features=features,
        layers=3,
        first_kernel_size=kernels[0],
        kernel_size=kernels[1],
    )
    model.double().eval()
    x = images(model, 1, (8, 12))
    law = model(x)
    for sites, log_pmf in fronts(model, x):
        full = law.log_pmf(x, sites.channel)[:, :, sites.rows, sites.columns].transpose(1, 2)
        torch.testing.assert_close(log_pmf, full, rtol=1e-10, atol=1e-10)


def test_steps_are_as_few_as_the_lag_allows() -> None:
    model = build("gated-rgb")  # three layers of 3×3: lag 4
    steps = sum(1 for _ in fronts(model, images(model, 1, (6, 20))))
    assert model.reach.lag == 4 and steps == 3 * (20 + 4 * 5)
    raster = build("diagonal")
    assert sum(1 for _ in fronts(raster, images(raster, 1, (3, 4)))) == 12


def test_a_hole_costs_what_it_needs() -> None:
    """Counted in operations: not what the rest of the picture costs."""
    from torch.utils.flop_counter import FlopCounterMode

    model = build("gated")  # sees 4 rows above and 3 columns beside
    x = images(model, 1, (200, 300))
    known = torch.ones(x.shape[2:], dtype=torch.bool)
    known[20:23, 100:104] = False
    with FlopCounterMode(display=False) as hole:
        complete(model, x, known, particles=1)
    with FlopCounterMode(display=False) as of_part, torch.no_grad():
        model(x[:, :, :7, :10])  # as large as the hole and its field
    # Lanes that wait for their row count, too.
    assert hole.get_total_flops() < 3 * of_part.get_total_flops()


def test_skews_keep_rows_apart() -> None:
    """No pixel needs another of its time or a later one, and rows of a slot do not touch."""
    reach = Reach(lag=5, lead=4, beside=2, field=None)
    for width, height, batch in [(1, 7, 1), (3, 9, 2), (17, 2, 1), (18, 30, 64)]:
        skew = Skew.of(reach, range(2, 2 + height), width, batch, raster=False)
        times = torch.tensor(skew.times)
        rows, columns, alive = skew.pixels(times)
        place = times[:, None].expand(rows.shape)[alive]
        assert torch.equal(place, columns[alive] + skew.lag * (rows[alive] - 2))
        pixels = set(zip(rows[alive].tolist(), columns[alive].tolist(), strict=True))
        assert len(pixels) == int(alive.sum()) == width * height
        assert skew.lag >= 5 and skew.slots * skew.lag >= width + 2


@pytest.mark.parametrize(
    "name", ["gated-rgb", "gated-all-conditions", "row-lstm", "diagonal-rgb-complete"]
)
def test_a_model_of_ones_own_runs_its_own_code_at_every_step(name: str) -> None:
    """Recorded steps would miss it. Here it halves what the model says."""
    model = build(name)
    original = type(model).forward

    class Own(type(model)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor, condition: Any = None, cache: Any = None) -> Any:
            distribution = original(self, x, condition, cache)
            distribution.logits = distribution.logits / 2
            return distribution

    model.__class__ = Own
    x, condition = images(model, 2, (4, 5)), conditions(model, 2, (4, 5))
    full = model(x, condition)
    for sites, log_pmf in fronts(model, x, condition):
        expected = full.log_pmf(x, sites.channel)[:, :, sites.rows, sites.columns].transpose(1, 2)
        torch.testing.assert_close(log_pmf, expected, rtol=1e-10, atol=1e-10)
