"""Completions with any mask: walkers that are weighed and copied give p(unknown | known)."""

import itertools
import logging
import math

import pytest
import torch
from cases import CASES, build, conditions, images
from torch import Tensor

from nextpixel import GatedPixelCNN, complete, complete_with_evidence, load, score
from nextpixel.conditions.values import Values, index, unknown
from nextpixel.models.core import ImageModel
from nextpixel.particles import informative, systematic
from nextpixel.plan import Plan
from nextpixel.scoring import log_prob_map, order_scores

SHAPES = [(3, 5), (4, 3), (2, 7)]
# Of the others, each kind of layer, head and condition is in one of these.
FAST = ["gated", "gated-rgba-deep", "gated-wide-kernels", "gated-logistic", "gated-all-conditions"]
FAST += ["gated-positions", "gated-rgb-codes", "pixel-cnn-rgb-classes", "pixel-cnn-codes-logistic"]
FAST += ["row-lstm-rgb-classes", "row-lstm-vector-and-map", "diagonal-rgb-complete"]
FAST += ["diagonal-classes-and-map", "multi-scale", "multi-scale-rgb-classes", "multi-scale-nested"]
in_turns = pytest.mark.parametrize(
    ("name", "turn"),
    [
        pytest.param(name, turn, id=name, marks=() if name in FAST else pytest.mark.slow)
        for turn, name in enumerate(CASES)
    ],
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@in_turns
@torch.inference_mode()
def test_copied_walkers_go_on_as_the_images_that_they_are(name: str, turn: int) -> None:
    """Two images, three walkers of each, that take each other's places at random.

    What they were given on their way sums up to the score of what they have drawn in the end.
    """
    model, shape, generator = build(name), SHAPES[turn % len(SHAPES)], seeded(turn)
    rows = torch.arange(2).repeat_interleave(3)
    values = index(conditions(model, 2, shape), rows)
    x = torch.zeros(6, model.channels, *shape, dtype=torch.int64)
    total, moved = torch.zeros(6, dtype=torch.float64), 0
    plan = Plan(model, x, values, torch.ones(1, *x.shape[1:], dtype=torch.bool), raster=False)

    def take_places(front: object) -> None:
        nonlocal moved
        if torch.rand((), generator=generator) < 0.6:
            return
        sources = torch.randint(3, (6,), generator=generator) + 3 * rows
        places = (sources != torch.arange(6)).nonzero().flatten()
        sources = sources[places]
        x[places], total[places] = x[sources], total[sources]
        front.replace(places, sources)  # type: ignore[attr-defined]
        moved += len(places)

    for group in plan.groups():
        for visit in group.visits:
            for step in visit.steps(take_places):
                front, pmf = step.front, step.log_pmf()
                drawn = torch.randint(model.levels, (front.lanes,), generator=generator)
                flat = front.flat(front.x, step.channel)
                new = torch.where(step.wanted, drawn, flat[front.sites])
                flat.index_copy_(0, front.sites, new)
                nats = pmf.gather(1, drawn[:, None])[:, 0]
                total += torch.where(step.wanted, nats, 0).view(-1, 6).sum(dim=0)
    assert moved
    in_first_order = order_scores(model, x, values)[:, 0]
    torch.testing.assert_close(total, in_first_order, rtol=1e-10, atol=1e-10)


def peaked(name: str, factor: float = 1.6) -> ImageModel:
    """A model whose pixels depend on each other much."""
    model = build(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor if parameter.ndim > 1 else 1)
    return model


def every_completion(model: ImageModel, x: Tensor, known: Tensor) -> Tensor:
    """All images (n, C, H, W) that agree with x where it is known; the last site runs first."""
    places = (~known).flatten().nonzero().flatten()
    ends = torch.tensor(list(itertools.product(range(model.levels), repeat=len(places))))
    every = x.flatten(1).repeat(len(ends), 1)
    every[:, places] = ends
    return every.view(-1, *x.shape[1:])


def numbers(model: ImageModel, drawn: Tensor, known: Tensor) -> Tensor:
    """Which of `every_completion` each of some images is."""
    found = drawn.flatten(1)[:, (~known).flatten()]
    return (found * model.levels ** torch.arange(found.shape[1]).flip(0)).sum(dim=1)


def assert_follows(observed: Tensor, log_joint: Tensor) -> None:
    """A χ² test with a false-alarm rate of 1e-6."""
    n = int(observed.sum())
    expected = log_joint.softmax(dim=0) * n
    order = expected.argsort(descending=True)
    expected, observed = expected[order], observed[order].double()
    kept = int((expected >= 8).sum())
    expected = torch.cat([expected[:kept], expected[kept:].sum()[None]])
    observed = torch.cat([observed[:kept], observed[kept:].sum()[None]])
    expected, observed = expected[expected > 0], observed[expected > 0]
    statistic, freedom = float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1
    assert freedom > 0
    # Wilson and Hilferty: the cube root is nearly normal; 4.76 deviations are 1e-6.
    scale = 2 / (9 * freedom)
    assert ((statistic / freedom) ** (1 / 3) - (1 - scale)) / math.sqrt(scale) < 4.76


# An image so small that all completions can be listed, and its known sub-pixels ("#").
MASKS: dict[str, tuple[tuple[int, int], list[str]]] = {
    "gated": ((2, 3), [".#.##."]),
    "gated-rgb": ((1, 2), [".#", "#.", ".#"]),
    "gated-logistic": ((2, 1), ["#.", ".#", ".#"]),
    "gated-rgb-codes": ((2, 1), [".#", "..", ".#"]),
    "gated-positions-classes-and-map": ((2, 2), ["..##", ".#.#"]),
    "pixel-cnn-rgb-positions": ((2, 2), ["..##", "..#.", ".###"]),
    "pixel-cnn-codes-logistic": ((1, 3), ["..#", ".##"]),
    "row-lstm-vector-and-map": ((3, 2), [".#.#.#"]),
    "diagonal": ((2, 2), ["...#"]),
    "diagonal-rgba-plain-map": ((1, 2), [".#", ".#", ".#", "##"]),
    "multi-scale": ((2, 3), [".#.##."]),
    "multi-scale-rgb-classes": ((2, 2), [".###", "..#.", ".#.#"]),
    "multi-scale-nested": ((3, 2), [".##..#"]),
}


def tiny(name: str) -> tuple[ImageModel, Tensor, Tensor, Values]:
    (height, width), rows = MASKS[name]
    model = peaked(name)
    known = torch.tensor([[c == "#" for c in row] for row in rows]).view(-1, height, width)
    return (
        model,
        images(model, 1, (height, width)),
        known,
        conditions(model, 1, (height, width)),
    )


# The others are slow: each kind of layer, head and condition is in one of these.
QUICK = ["gated-logistic", "row-lstm-vector-and-map", "diagonal-rgba-plain-map"]
QUICK += ["multi-scale-rgb-classes"]


@pytest.mark.parametrize(
    ("name", "draws", "particles"),
    [
        *(pytest.param(name, 120, 128, id=name) for name in QUICK),
        *(
            pytest.param(name, 600, 512, id=f"{name}-long", marks=pytest.mark.slow)
            for name in MASKS
        ),
    ],
)
@torch.no_grad()
def test_completions_with_any_mask_follow_the_conditional(
    name: str, draws: int, particles: int
) -> None:
    model, x, known, condition = tiny(name)
    found = complete_with_evidence(
        model,
        x,
        known,
        draws=draws,
        particles=particles,
        condition=condition,
        generator=seeded(3),
        batch_size=100 * particles,
    )
    drawn = found.images[0]
    assert (drawn == x)[:, known].all()
    every = every_completion(model, x, known)
    joint = score(model, every, condition)
    assert_follows(numbers(model, drawn, known).bincount(minlength=len(every)), joint)
    torch.testing.assert_close(found.log_evidence.mean(), joint.logsumexp(dim=0), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("name", "n"),
    [
        pytest.param("gated", 800, id="gated"),
        *(
            pytest.param(name, 4000, id=f"{name}-long", marks=pytest.mark.slow)
            for name in ("gated", "row-lstm", "diagonal", "multi-scale-nested")
        ),
    ],
)
@torch.no_grad()
def test_more_walkers_come_nearer_and_any_number_estimates_the_evidence(name: str, n: int) -> None:
    shape = (3, 2)
    model, known = peaked(name, 2.5), torch.tensor([[0, 0], [1, 0], [1, 1]]).bool()
    x, condition = images(model, 1, shape), conditions(model, 1, shape)
    every = every_completion(model, x, known[None].expand(model.channels, *shape))
    joint = score(model, every, condition)
    distances = []
    for particles in (1, 4, 24):
        found = complete_with_evidence(
            model,
            x,
            known,
            draws=n,
            particles=particles,
            condition=condition,
            generator=seeded(particles),
            batch_size=n * particles,
        )
        # Unbiased in the mean of exp, within 5 standard errors: false alarms are rarer than 1e-5.
        ratio = (found.log_evidence[0] - joint.logsumexp(dim=0)).exp()
        assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / math.sqrt(n), particles
        counts = numbers(model, found.images[0], known[None]).bincount(minlength=len(every))
        distances.append(float((counts / n - joint.softmax(dim=0)).abs().sum()) / 2)
    assert distances[0] > 1.1 * distances[1] and distances[0] > 2 * distances[2], distances


@torch.no_grad()
def test_walkers_follow_temperature_and_guidance() -> None:
    """Every conditional is tempered and guided, and so is the probability of known values."""
    model, shape = peaked("gated-classes"), (2, 2)
    x, known, condition = (
        images(model, 1, shape),
        torch.tensor([[0, 1], [0, 1]]).bool(),
        (torch.tensor([1]),),
    )
    every = every_completion(model, x, known[None])
    law = model(every, condition[0].expand(len(every))).log_pmf(every, 0)
    free = model(every, unknown(model.conditions, len(every), shape)).log_pmf(every, 0)
    pmf = torch.log_softmax((1.5 * law - 0.5 * free) / 0.8, dim=1)
    joint = pmf.gather(1, every)[:, 0].sum(dim=(1, 2))
    drawn = complete(
        model,
        x,
        known,
        draws=400,
        particles=64,
        condition=condition,
        temperature=0.8,
        guidance=1.5,
        generator=seeded(),
        batch_size=64 * 400,
    )[0]
    assert_follows(numbers(model, drawn, known[None]).bincount(minlength=len(every)), joint)


@pytest.mark.parametrize("name", ["gated-rgb", "row-lstm", "diagonal-logistic", "multi-scale"])
def test_nothing_changes_where_known_sub_pixels_come_first(name: str) -> None:
    model, shape = build(name), (4, 3)
    x, condition = images(model, 2, shape), conditions(model, 2, shape)
    known = torch.zeros(shape, dtype=torch.bool)
    known[:2] = True
    if name == "multi-scale":  # the small image
        known[:] = False
        known[::2, ::2] = True
    options = {"draws": 2, "condition": condition}
    found = complete_with_evidence(model, x, known, generator=seeded(), **options)  # type: ignore[arg-type]
    plain = complete(model, x, known, particles=1, generator=seeded(), **options)  # type: ignore[arg-type]
    assert torch.equal(found.images, plain) and (found.effective == 32).all()
    exact = log_prob_map(model, x, condition)[:, :, known].sum(dim=(1, 2))
    torch.testing.assert_close(found.log_evidence, exact[:, None].expand(2, 2))
    whole = complete_with_evidence(model, x, known | True, condition=condition)
    torch.testing.assert_close(whole.log_evidence[:, 0], score(model, x, condition))


@pytest.mark.parametrize("name", ["gated-map", "multi-scale"])
def test_draws_do_not_depend_on_what_is_completed_with_them(name: str) -> None:
    """Images with different masks, in batches of one draw and of all."""
    model, shape = build(name), (4, 3)
    x, condition = images(model, 4, shape), conditions(model, 4, shape)
    known = torch.rand(4, 1, *shape, generator=seeded(1)) < 0.6
    known[1], known[3] = known[0], torch.arange(4)[:, None].expand(shape) < 2

    def drawn(n: int, size: int) -> Tensor:
        values = index(condition, slice(n))
        return complete(
            model,
            x[:n],
            known[:n],
            draws=2,
            particles=5,
            condition=values,
            generator=seeded(4),
            batch_size=size,
        )

    together = drawn(4, 256)
    assert torch.equal(drawn(4, 1), together) and torch.equal(drawn(3, 10), together[:3])
    assert (together == x[:, None]).masked_select(known[:, None].expand(together.shape)).all()
    assert not torch.equal(together[:, 0], together[:, 1])


@pytest.mark.parametrize(
    "name", ["gated", "gated-one-layer", "pixel-cnn", "row-lstm", "multi-scale"]
)
@torch.no_grad()
def test_known_sites_that_are_left_out_do_not_depend_on_unknown_ones(name: str) -> None:
    model, shape = build(name), (12, 13)
    hidden = torch.zeros(model.channels, *shape, dtype=torch.bool)
    hidden[-1, 3, 5] = hidden[0, 4, 6] = True
    a = images(model, 1, shape)
    b = torch.where(hidden, (a + 1) % model.levels, a)
    changed = torch.zeros_like(hidden)
    for channel in range(model.channels):
        pmfs = (model(x).log_pmf(x, channel)[0] for x in (a, b))
        changed[channel] = ~torch.isclose(*pmfs, rtol=1e-12, atol=1e-12).all(dim=0)
    found = informative(model, hidden)
    assert not (found & hidden).any() and (changed & ~hidden & ~found).sum() == 0
    assert changed.any() and (~found[:, :, 11] | (name == "multi-scale")).any()


def test_a_scratch_in_a_large_picture_costs_what_its_surroundings_do() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = build("gated")
    x = images(model, 1, (60, 90))
    known = torch.ones(x.shape[2:], dtype=torch.bool)
    known[20:23, 50:52] = known[50, 7] = False
    with FlopCounterMode(display=False) as walked:
        complete(model, x, known, particles=4)
    with FlopCounterMode(display=False) as of_part, torch.no_grad():
        model(x[:, :, :11, :14])  # as large as a hole and its field, before and after
    assert walked.get_total_flops() < 4 * 4 * of_part.get_total_flops()


def test_a_collapse_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    model = load("mnist-gated-pixel-cnn")
    x = images(model, 2, (12, 9))  # noise, which no digit fits
    below = torch.arange(12)[:, None].expand(12, 9) > 5
    with caplog.at_level(logging.WARNING):
        complete(model, x, ~below)
        complete(model, x, below, particles=1)
        assert not caplog.records
        found = complete_with_evidence(model, x, below)
    assert (found.effective < 2).all()
    assert "in 2 of 2 images the known pixels left fewer than 2 of 32 walkers" in caplog.text


def test_systematic_resampling_takes_walkers_in_proportion() -> None:
    weights = torch.tensor([0.03, 0.5, 0.0, 0.22, 0.25]).double()
    counts = []
    for number in (torch.arange(1000) + 0.5) / 1000:
        sources = systematic(weights, float(number))
        taken = sources.bincount(minlength=5)
        assert ((taken - 5 * weights).abs() < 1).all()
        assert (sources[taken > 0] == torch.arange(5)[taken > 0]).all()
        counts.append(taken)
    mean = torch.stack(counts).double().mean(dim=0)
    torch.testing.assert_close(mean, 5 * weights, rtol=0, atol=2e-3)


def test_impossible_values_and_unsound_numbers() -> None:
    model = GatedPixelCNN(levels=4, features=4, layers=2, kernel_size=3)
    x = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    known = torch.tensor([[False, True], [True, True]])
    with pytest.raises(ValueError, match="particles= must be at least 1"):
        complete(model, x, known, particles=0)
    with torch.no_grad():
        model.head_out.bias[0] = -torch.inf  # the known value
    found = complete_with_evidence(model, x, known)
    assert (found.log_evidence == -torch.inf).all() and found.images[0, 0, 0, 0, 0] > 0
