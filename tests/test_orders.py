"""Models of several orders: each order is a distribution, and so is their mixture."""

import itertools
import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import conditions, images
from test_training import dataset

from nextpixel import (
    ClassCondition,
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    PixelCNN,
    RowLSTM,
    TrainConfig,
    VectorCondition,
    complete,
    complete_with_evidence,
    initial_state,
    load,
    sample,
    save,
    score,
    train,
)
from nextpixel.analysis.causality import check_causality, dependencies
from nextpixel.analysis.receptive_fields import receptive_field
from nextpixel.cli.app import main
from nextpixel.conditions.values import Values
from nextpixel.errors import UsageError
from nextpixel.lane_laws import inverse_cdf
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.orders import ORDERS, Order, orders_of, turn_each
from nextpixel.particles import uniform
from nextpixel.scoring import log_prob_map, order_scores
from nextpixel.steps import Step
from nextpixel.training.batches import training_parts
from nextpixel.turning import best_order, told, turned, visiting_order
from nextpixel.walk import fronts, walk

MODELS: dict[str, Callable[[], ImageModel]] = {
    "gated": lambda: GatedPixelCNN(
        levels=2,
        features=8,
        layers=3,
        kernel_size=3,
        position_waves=2,
        condition=(ClassCondition(2), MapCondition(1, scale=1, levels=2)),
        orders=8,
    ),
    "pixel-cnn": lambda: PixelCNN(
        channels=3,
        levels=2,
        features=12,
        layers=1,
        condition=VectorCondition(2),
        orders=2,
        colour_orders=6,
    ),
    "row-lstm": lambda: RowLSTM(
        channels=2,
        levels=3,
        features=6,
        layers=1,
        head="logistic",
        orders=8,
        colour_orders=2,
        position_waves=1,
    ),
    "diagonal": lambda: DiagonalBiLSTM(
        levels=2, features=6, layers=1, complete_context=True, position_waves=1, orders=8
    ),
    "multi-scale": lambda: MultiScale(
        small=RowLSTM(levels=2, features=6, layers=1, condition=ClassCondition(2), orders=8),
        large=PixelCNN(
            levels=2, features=8, layers=2, condition=MapCondition(1, levels=2), orders=8
        ),
    ),
    "multi-scale-rgb": lambda: MultiScale(
        small=RowLSTM(channels=3, levels=2, features=6, layers=1, colour_orders=3),
        large=GatedPixelCNN(
            channels=3,
            levels=2,
            features=12,
            layers=2,
            kernel_size=3,
            condition=MapCondition(3, levels=2),
            colour_orders=3,
        ),
    ),
    "autoencoder": lambda: PixelCNNAutoencoder(
        decoder=GatedPixelCNN(
            levels=2, features=6, layers=2, condition=VectorCondition(2), orders=8
        ),
        size=(4, 6),
        encoder_features=4,
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)


def build(name: str) -> ImageModel:
    """A model in float64 in which the order, the position and all conditions matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]().double().eval()
        for key, parameter in model.named_parameters():
            if "of_vector" in key or "of_positions" in key or not parameter.any():
                torch.nn.init.normal_(parameter, std=0.5)
    return model


def every_image(model: ImageModel, shape: tuple[int, int]) -> torch.Tensor:
    values = itertools.product(range(model.levels), repeat=model.channels * math.prod(shape))
    return torch.tensor(list(values)).view(-1, model.channels, *shape)


def some_orders(model: ImageModel) -> tuple[Order, ...]:
    """One to three of the orders beside the first."""
    return model.orders[:0:-6]


def test_an_order_is_the_one_that_its_name_says() -> None:
    x = torch.tensor([[1, 2, 3], [4, 5, 6]])
    visited = {order.name: order.turn(x).flatten().tolist() for order in ORDERS}
    assert visited == {
        "top-left": [1, 2, 3, 4, 5, 6],
        "bottom-right": [6, 5, 4, 3, 2, 1],
        "top-right": [3, 2, 1, 6, 5, 4],
        "bottom-left": [4, 5, 6, 1, 2, 3],
        "top-left-columns": [1, 4, 2, 5, 3, 6],
        "bottom-right-columns": [6, 3, 5, 2, 4, 1],
        "top-right-columns": [3, 6, 2, 5, 1, 4],
        "bottom-left-columns": [4, 1, 5, 2, 6, 3],
    }
    for order in ORDERS:
        seen = order.turn(x)
        assert torch.equal(order.turn_back(seen), x) and seen.shape == order.size(2, 3)
        for row, column in itertools.product(range(2), range(3)):
            assert seen[order.pixel(row, column, (2, 3))] == x[row, column]


def test_an_order_of_colours_exchanges_them_and_nothing_else() -> None:
    """Colours, but not the channels of maps; the first one of the order first."""
    x, order = torch.arange(12).view(3, 2, 2), Order.named("top-right:2-0-1")
    assert order.turn(x)[:, 0, 0].tolist() == [9, 1, 5] and order.colours == (2, 0, 1)
    assert torch.equal(order.turn_back(order.turn(x)), x) and order.name == "top-right:2-0-1"
    assert [order.turn(x)[order.colour(c), 0, 0] for c in range(3)] == [1, 5, 9]
    assert Order(colours=(0, 1, 2)) == Order() and order.square == Order.named("top-right")
    for channels, count in ((1, 1), (2, 2), (3, 3), (3, 6), (4, 4), (4, 24), (5, 5)):
        colours = {one.colours for one in orders_of(channels, 1, count)}
        firsts = {one[0] if one else 0 for one in colours}
        assert len(colours) == count and len(firsts) == min(channels, count)
    model = GatedPixelCNN(
        channels=3,
        levels=2,
        features=6,
        layers=1,
        condition=MapCondition(3, scale=1, levels=2),
        orders=2,
        colour_orders=3,
    )
    x, drawn = (torch.rand(2, 3, 2, 3) < 0.5 for _ in range(2))
    order = Order.named("bottom-right:1-2-0")
    seen, (maps, number) = turned(model, [order] * 2, x.long(), (drawn.long(),))
    assert torch.equal(seen, x.flip(2, 3)[:, [1, 2, 0]].long())
    assert torch.equal(maps, drawn.flip(2, 3).long()) and number.tolist() == [2, 2]
    # The first colour is told last of a pixel: what it sees of its own pixel are the others.
    sees = receptive_field(model, (2, 2), pixel=(0, 0), order=order)[:, :, 0, 0]
    assert sees.tolist() == [[False, True, True], [False, False, False], [False, True, False]]


@every_model
def test_each_order_and_their_mixture_sum_to_one(name: str) -> None:
    model = build(name)
    x = every_image(model, (2, 3) if model.channels == 1 else (1, 2))
    nats = order_scores(model, x, conditions(model, 1, (x.shape[2], x.shape[3])))
    torch.testing.assert_close(nats.exp().sum(dim=0), torch.ones(len(model.orders)).double())
    condition = conditions(model, 1, (x.shape[2], x.shape[3]))
    mixture = score(model, x, condition)
    torch.testing.assert_close(mixture, nats.exp().mean(dim=1).log())
    for k, order in enumerate(model.orders):
        torch.testing.assert_close(score(model, x, condition, order=order), nats[:, k])
        others = (nats - nats[:, k : k + 1]).abs().amax(dim=0) > 1e-6
        assert int(others.sum()) == len(model.orders) - 1  # each is another distribution


@every_model
def test_causality_is_two_sided_in_other_orders(name: str) -> None:
    model = build(name)
    for order in some_orders(model):
        given = conditions(model, 1, (2, 3))
        depends = dependencies(model, (2, 3), condition=given, draws=3, order=order)
        past = torch.ones(len(depends), len(depends)).tril(-1).bool()
        assert not depends[~past].any() and depends[past].all(), order.name


@every_model
@torch.no_grad()
def test_walks_equal_the_full_pass_in_every_order_and_read_nothing_later(name: str) -> None:
    model, shape = build(name), (3, 4)
    x, condition = images(model, 2, shape), conditions(model, 2, shape)
    for order in some_orders(model):
        full = log_prob_map(model, x, condition, order=order)
        torch.testing.assert_close(full.sum((1, 2, 3)), score(model, x, condition, order=order))
        blank = torch.zeros_like(x)
        for sites, log_pmf in fronts(model, blank, condition, order=order):
            here = (slice(None), sites.channel, sites.rows, sites.columns)
            found = log_pmf.gather(2, x[here][..., None])[..., 0]
            torch.testing.assert_close(found, full[here], rtol=1e-10, atol=1e-10)
            blank[here] = x[here]
        assert torch.equal(blank, x)
    blank, visited, rows = torch.zeros_like(x), [], torch.tensor([True, False, True])
    blank[:, :, 1] = x[:, :, 1]
    for site, log_pmf in walk(model, blank, condition, rows=rows, order=order):
        place = (slice(None), *site)
        found = log_pmf.gather(1, x[place][:, None])[:, 0]
        torch.testing.assert_close(found, full[place], rtol=1e-10, atol=1e-10)
        blank[place] = x[place]
        visited.append(site)
    assert visited == [site for site in visiting_order(model, *shape, order=order) if site.row != 1]


@pytest.mark.parametrize("name", ["gated", "diagonal"])
def test_completions_equal_those_site_by_site(name: str) -> None:
    """In every order the same number decides a sub-pixel."""
    model, shape = build(name), (5, 4)
    x, condition = images(model, 2, shape), conditions(model, 2, shape)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    for order in model.orders[4:6]:
        noise = uniform(x.shape, torch.Generator().manual_seed(9)).double()
        plain = x.masked_fill(~known, 0)
        for site, log_pmf in walk(model, plain, condition, order=order):
            here = (slice(None), *site)
            plain[here] = torch.where(known[here], x[here], inverse_cdf(log_pmf, noise[here]))
        generator = torch.Generator().manual_seed(9)
        options = {"particles": 1, "condition": condition, "generator": generator}
        drawn = complete(model, x, known, order=order, **options)
        assert torch.equal(drawn[:, 0], plain)


def test_the_public_check_and_the_field_are_of_an_order() -> None:
    model, order = build("gated"), Order.named("bottom-right-columns")
    report = check_causality(model, shape=(2, 3), order=order)
    assert report.ok and report.sites == tuple(visiting_order(model, 2, 3, order=order))
    seen = receptive_field(model, (5, 6), pixel=(1, 2), order=order)[0, 0]
    # Columns to the right, one above the other, and what is below in the pixel's own.
    assert seen[:, 3:6].all() and seen[2:5, 2].all() and not seen[:2, 2].any()
    assert not seen[:, :2].any()


@pytest.mark.parametrize("name", ["gated", "multi-scale"])
def test_samples_are_of_the_mixture_or_of_one_order(name: str) -> None:
    model, n = build(name), 4_000
    shape = (1, 3) if model.channels == 1 else (1, 2)
    x, condition = every_image(model, shape), conditions(model, 1, shape)
    place = model.levels ** torch.arange(x[0].numel()).flip(0)
    for order in (None, model.orders[-1]):
        generator = torch.Generator().manual_seed(0)
        drawn = sample(
            model,
            n,
            shape,
            condition=condition,
            order=order,
            generator=generator,
            batch_size=n,
        )
        observed = (drawn.flatten(1) * place).sum(1).bincount(minlength=len(x)).double()
        assert chi_squared_ok(observed, score(model, x, condition, order=order).exp() * n)


def chi_squared_ok(observed: torch.Tensor, expected: torch.Tensor) -> bool:
    """Pearson's test of cells of at least 5; one false alarm in 10,000 (Wilson-Hilferty)."""
    rare = expected < 5
    cells = torch.stack([torch.cat([t[~rare], t[rare].sum()[None]]) for t in (observed, expected)])
    freedom = len(cells[0]) - 1
    statistic = float(((cells[0] - cells[1]) ** 2 / cells[1].clamp(min=1e-9)).sum())
    limit = freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3
    return statistic < limit


def test_images_do_not_depend_on_how_many_are_drawn() -> None:
    """And the likelihood that comes with them is that of the mixture."""
    model, condition = build("gated"), conditions(build("gated"), 1, (3, 4))

    def drawn(n: int, batch_size: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
        return sample(
            model,
            n,
            (3, 4),
            condition=condition,
            generator=torch.Generator().manual_seed(4),
            return_log_prob=True,
            batch_size=batch_size,
        )

    x, nats = drawn(9)
    assert torch.equal(x, drawn(9, 2)[0]) and torch.equal(x[:3], drawn(3)[0])
    assert torch.equal(nats, score(model, x, condition))
    for order in model.orders[4:6]:
        x, nats = sample(model, 2, (3, 4), condition=condition, order=order, return_log_prob=True)
        torch.testing.assert_close(nats, score(model, x, condition, order=order))


def test_the_best_order_has_the_known_before_the_unknown() -> None:
    model = build("gated")
    halves = {
        "top-left": (slice(0, 2), slice(None)),
        "bottom-right": (slice(2, None), slice(None)),
        "top-left-columns": (slice(None), slice(0, 2)),
        "bottom-right-columns": (slice(None), slice(2, None)),
    }
    for name, (rows, columns) in halves.items():
        known = torch.zeros(1, 4, 4, dtype=torch.bool)
        known[:, rows, columns] = True
        assert best_order(model, known).name == name
    corner = torch.zeros(1, 4, 4, dtype=torch.bool)
    corner[:, :1, 1:] = True
    assert best_order(model, corner).name == "top-right"
    assert best_order(model, torch.zeros(1, 4, 4, dtype=torch.bool)) == Order()


@pytest.mark.parametrize("name", ["pixel-cnn", "multi-scale-rgb"])
def test_no_order_has_more_known_before_unknown_than_the_best(name: str) -> None:
    """Over colours as well: all pairs, counted one by one."""
    model, generator = build(name), torch.Generator().manual_seed(0)

    def pairs(order: Order, known: torch.Tensor) -> int:
        visited = torch.tensor([known[site] for site in visiting_order(model, 2, 3, order=order)])
        return int((visited.cumsum(0) * ~visited).sum())

    for _ in range(20):
        known = torch.rand(model.channels, 2, 3, generator=generator) < 0.5
        best = max(pairs(order, known) for order in model.orders)
        assert pairs(best_order(model, known), known) == best


def recorded(seen: list[Step], steps: Iterable[Step], _: int) -> Iterable[Step]:
    for step in steps:
        seen.append(step)
        yield step


@pytest.mark.parametrize("name", ["pixel-cnn", "row-lstm"])
def test_known_colours_come_first_and_are_not_drawn(name: str) -> None:
    """Any of them; draws of one pixel are from exactly p(unknown | known)."""
    model, n = build(name), 1_000
    x, condition = images(model, 1, (1, 1)), conditions(model, 1, (1, 1))
    every = every_image(model, (1, 1))
    for subset in itertools.product((False, True), repeat=model.channels):
        known = torch.tensor(subset).view(-1, 1, 1)
        order, steps = best_order(model, known), []
        options = {"condition": condition, "batch_size": n, "progress": partial(recorded, steps)}
        generator = torch.Generator().manual_seed(0)
        drawn = complete(model, x, known, draws=n, generator=generator, **options)[0]
        visited = sorted(order.back.colour(step.channel) for step in steps)
        assert visited == [c for c, there in enumerate(subset) if not there]
        assert order.turn(known).flatten().long().diff().le(0).all()  # known ones first
        agrees = every[(every == x)[:, known[:, 0, 0]].flatten(1).all(dim=1)]
        joint = score(model, agrees, condition, order=order).exp()
        observed = (drawn[:, None] == agrees).flatten(2).all(dim=2).sum(dim=0)
        assert int(observed.sum()) == n
        if len(agrees) > 1:
            assert chi_squared_ok(observed.double(), joint / joint.sum() * n)


def test_a_known_colour_informs_all_others_in_the_limit_of_particles() -> None:
    """Colourising: the known colours of later pixels weigh what earlier ones have become."""
    model, n = build("row-lstm"), 300
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.6)  # so that colours depend on each other much
    x, condition = torch.ones(1, 2, 1, 2, dtype=torch.int64), conditions(model, 1, (1, 2))
    known = torch.tensor([False, True]).view(2, 1, 1)
    order, every = best_order(model, known), every_image(model, (1, 2))
    assert order.colours == (1, 0)
    agrees = every[(every == x)[:, 1].flatten(1).all(dim=1)]
    joint = score(model, agrees, condition, order=order).exp()
    for particles in (32, 1):
        found = complete_with_evidence(
            model,
            x,
            known,
            draws=n,
            particles=particles,
            condition=condition,
            generator=torch.Generator().manual_seed(0),
            batch_size=n * particles,
        )
        observed = (found.images[0][:, None] == agrees).flatten(2).all(dim=2).sum(dim=0)
        assert int(observed.sum()) == n
        follows = chi_squared_ok(observed.double(), joint / joint.sum() * n)
        assert follows == (particles > 1)
        if particles > 1:
            mean = found.log_evidence[0].exp().mean()
            torch.testing.assert_close(mean, joint.sum(), rtol=0.1, atol=0)


@pytest.mark.parametrize("name", ["gated", pytest.param("multi-scale", marks=pytest.mark.slow)])
def test_completions_are_exact_if_what_is_known_is_below(name: str) -> None:
    """And each image of a batch is completed in its own order."""
    model, n = build(name), 3_000
    x = torch.tensor([[1], [0], [1], [1]]).view(1, 1, 4, 1)
    known = torch.tensor([False, False, True, True]).view(1, 1, 4, 1)
    x, known = torch.cat([x, x]), torch.cat([known, ~known])
    condition = conditions(model, 2, (4, 1))
    drawn = complete(
        model,
        x,
        known,
        draws=n,
        condition=condition,
        generator=torch.Generator().manual_seed(1),
        batch_size=2 * n,
    )
    every = every_image(model, (2, 1))[:, :, :, 0]
    for k in range(2):
        hidden = ~known[k, 0, :, 0]
        whole = x[k : k + 1].repeat(4, 1, 1, 1)
        whole[:, :, hidden, 0] = every
        order = best_order(model, known[k])
        given = tuple(value[k : k + 1] for value in condition)
        joint = score(model, whole, given, order=order).exp()
        if name == "gated":
            assert order == (Order.named("bottom-right"), Order())[k]
        codes = drawn[k, :, 0, hidden, 0] @ torch.tensor([2, 1])
        if name == "gated":
            observed = codes.bincount(minlength=4).double()
            assert chi_squared_ok(observed, joint / joint.sum() * n)
        assert (drawn[k, :, 0, ~hidden, 0] == x[k, 0, ~hidden, 0]).all()


def test_position_waves_tell_the_place_before_turning() -> None:
    model, x = build("gated"), torch.zeros(1, 1, 3, 4, dtype=torch.int64)
    values = conditions(model, 1, (3, 4))
    upright = model.encoder(model.with_told(x, values), 3, 4).positions
    for order in ORDERS:
        seen, given = turned(model, [order], x, values)
        positions = model.encoder(given, seen.shape[2], seen.shape[3]).positions
        torch.testing.assert_close(positions, order.turn(upright))


@every_model
def test_batches_are_turned_and_told(name: str) -> None:
    """Training is on the images of a model of one order, and by the likelihood of each order."""
    from nextpixel.data.splits import Split

    model, shape = build(name), (4, 6)
    x = images(model, 12, shape)
    split = Split(images=x.byte().numpy())
    encoding = isinstance(model, PixelCNNAutoencoder)
    config = TrainConfig(steps=4, batch_size=12, channels_last=False)
    seen = set()
    for step in range(9):
        plain, here = (
            next(training_parts(split, config, step, 0, 1, torch.device("cpu"), (), turns))
            for turns in (None, model)
        )
        numbers = here[1][-1]
        orders = [model.orders[number + 1] for number in numbers.tolist()]
        seen |= set(orders)
        assert torch.equal(turn_each([order.back for order in orders], here[0]), plain[0])
    assert seen == set(model.orders)
    condition: Values = () if encoding else conditions(model, 12, shape)
    batch, given = turned(model, orders, plain[0], condition)
    nats = model(batch, given).log_prob(batch).sum((1, 2, 3))
    codes = (model.encode(plain[0]),) if encoding else condition
    every = order_scores(model, plain[0], codes)
    expected = every[torch.arange(12), numbers + 1]
    torch.testing.assert_close(nats.detach(), expected, rtol=1e-9, atol=1e-9)


def test_the_weights_that_are_kept_are_good_in_every_order() -> None:
    """Not in one alone: a validation is the mean over orders, which the mixture exceeds."""
    data, config = dataset(16, (2, 3, 3), levels=2), TrainConfig(steps=1, batch_size=4)
    model = GatedPixelCNN(channels=2, levels=2, features=6, layers=1, orders=2, colour_orders=2)
    state = initial_state(model, config)
    (step,) = train(state, data, config)
    nats = order_scores(state.average, np.asarray(data.valid.images))
    assert step.valid_bits_per_dim == pytest.approx(-float(nats.mean()) / (18 * math.log(2)))


def test_a_checkpoint_knows_its_orders(tmp_path: Path) -> None:
    model = build("multi-scale")
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    x, condition = images(model, 2, (4, 3)), conditions(model, 2, (4, 3))
    assert again.orders == ORDERS
    assert torch.equal(score(again, x, condition), score(model, x, condition))


def test_what_does_not_fit_is_refused() -> None:
    model = GatedPixelCNN(levels=2, features=8, layers=1, orders=2)
    x = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    with pytest.raises(UsageError, match="order=top-right.*top-left, bottom-right; train"):
        score(model, x, order=Order.named("top-right"))
    with pytest.raises(UsageError, match="order='up'.*must be one of 'top-left'"):
        Order.named("up")
    with pytest.raises(UsageError, match="must be 1, 2, 4 or 8, not 3"):
        GatedPixelCNN(orders=3)
    for name in ("up", "top-left:", "top-left:1-x", "top-left-2"):
        with pytest.raises(UsageError, match="order=.*such as 'top-left:2-0-1'"):
            Order.named(name)
    with pytest.raises(UsageError, match="colours.*each colour once, from 0"):
        Order.named("top-left:1-1-0")
    with pytest.raises(UsageError, match="train a model with more colour_orders="):
        score(model, x, order=Order.named("top-left:1-0"))
    with pytest.raises(UsageError, match="must be 1 or 3 or 6 for images of 3 channels, not 2"):
        GatedPixelCNN(channels=3, features=48, colour_orders=2)
    with pytest.raises(UsageError, match="colour_orders.* must be 1 for images of 1 channel"):
        GatedPixelCNN(colour_orders=3)
    with pytest.raises(UsageError, match="large.*orders=1.*small.*need 2"):
        given = MapCondition(1, levels=2)
        MultiScale(small=model, large=PixelCNN(levels=2, features=8, condition=given))


def test_from_training_to_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of two orders, which learns three orders of colours: its own score as they did."""
    two, six, out = str(tmp_path / "two"), str(tmp_path / "six"), str(tmp_path / "out.png")
    drawn = np.random.default_rng(0).integers(0, 2, (24, 4, 5, 3), dtype=np.uint8)
    source = str(tmp_path / "images.npz")
    np.savez(source, train_images=drawn[:18], test_images=drawn[18:])
    small = ["--features", "6", "--layers", "1", "--batch-size", "4", "--orders", "2"]
    main(["train", source, "--out", two, "--steps", "2", "--quiet", *small])
    start = ["train", source, "--from", two, "--quiet", "--steps", "1", "--learning-rate=1e-12"]
    main([*start, "--out", six, "--colour-orders", "3"])
    before, model = load(two), load(six)
    assert len(before.orders) == 2 and model.orders == orders_of(3, 2, 3)
    x = torch.from_numpy(drawn[:3]).long().permute(0, 3, 1, 2)
    for order in model.orders:
        expected = score(before, order.turn(order.square.turn_back(x)), order=order.square)
        torch.testing.assert_close(score(model, x, order=order), expected, rtol=1e-5, atol=1e-4)
    capsys.readouterr()
    main(["evaluate", six, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["members_bits_per_dim"] >= found["bits_per_dim"]
    main(["evaluate", six, "--order", "bottom-right:1-2-0"])
    assert "on average" not in capsys.readouterr().out
    main(["complete", six, "--out", out, "--hide", "top", "--n", "1", "--draws", "1"])
    assert "order     bottom-right\n" in capsys.readouterr().out
    main(["complete", six, "--out", out, "--hide=all", "--known=2", "--n", "1", "--draws", "1"])
    assert "order     top-left:2-0-1\n" in capsys.readouterr().out
    main(["sample", six, "--n", "2", "--out", out, "--order", "bottom-right"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        main(["sample", six, "--n", "2", "--out", out, "--order", "top-right"])
    assert refused.value.code == 2
    assert "--order top-right is not among the orders" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", source, "--from", six, "--colour-orders", "1"])
    assert "holds a model of 3 colour orders, and it stays so" in capsys.readouterr().err


def test_what_is_told_is_nothing_for_one_order() -> None:
    model = GatedPixelCNN(levels=2, features=8, layers=1)
    assert model.encoder is None and told(model, [Order()], torch.device("cpu")) == ()


def test_several_orders_have_one_progress() -> None:
    model = GatedPixelCNN(levels=2, features=4, layers=1, kernel_size=3, orders=8)
    shown: list[tuple[int, int]] = []

    def bar(steps: Iterable[Step], length: int) -> Iterable[Step]:
        shown.append((length, 0))
        for step in steps:
            shown[-1] = length, shown[-1][1] + 1
            yield step

    sample(model, 8, (3, 4), generator=torch.Generator().manual_seed(0), progress=bar)
    known = torch.zeros(4, 1, 3, 4, dtype=torch.bool)
    known[0, :, 1:], known[1, :, :, 2:], known[2, :, :, 0], known[3, :, 1] = True, True, True, True
    complete(model, known.long(), known, progress=bar)
    assert len(shown) == 2 and all(length == steps > 0 for length, steps in shown)
