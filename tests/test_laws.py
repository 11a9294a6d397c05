"""The laws that every model obeys, asserted over all of `cases.CASES`."""

import itertools
import math
from typing import Any

import pytest
import reference
import torch
from borders import small_passes
from cases import CASES, SHAPES, UNSEEN, build, conditions, images, over, trained

from nextpixel import (
    GatedPixelCNN,
    bits_per_dim,
    check_causality,
    complete,
    sample,
    score,
)
from nextpixel.analysis.causality import dependencies
from nextpixel.cache import raster_order
from nextpixel.conditions.values import Values, forget, index, random_values, unknown
from nextpixel.errors import UsageError
from nextpixel.layers.conditioning import ConditionBias
from nextpixel.layers.heads import HEADS
from nextpixel.models import registry
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
from nextpixel.scoring import log_prob_map
from nextpixel.testing import check_model, chi_squared_z
from nextpixel.turning import visiting_order
from nextpixel.walk import walk

every_case = over()
# One of each family, head and kind of condition, for laws that take long.
TELLING = {
    "gated",
    "gated-rgb",
    "gated-all-conditions",
    "gated-logistic",
    "gated-orders",
    "pixel-cnn",
    "pixel-cnn-rgb-classes",
    "row-lstm",
    "row-lstm-rgb-classes",
    "diagonal",
    "diagonal-rgb-complete",
    "multi-scale",
    "autoencoder",
}
few_cases = over(TELLING)


@few_cases
def test_what_users_check_holds_of_our_models(name: str) -> None:
    """The laws of output, sums, batch, steps, samples and file, as `check_model` states them."""
    model = trained(name)
    laws = {law.name: law.status for law in check_model(model, shape=(4, 3), draws=1).laws}
    assert laws.pop("condition") == ("holds" if model.conditions else "not tested")
    assert set(laws.values()) == {"holds"}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("make", "shape", "training"),
    # Each pair of the three choices once; `check_model` has trained models in evaluation mode.
    [
        pytest.param(build, SHAPES[0], False, id="build-eval", marks=pytest.mark.slow),
        pytest.param(build, SHAPES[1], True, id="build-train"),
        pytest.param(trained, SHAPES[0], True, id="trained-train", marks=pytest.mark.slow),
        pytest.param(trained, SHAPES[1], False, id="trained-eval", marks=pytest.mark.slow),
    ],
)
def test_causality_is_two_sided(
    name: str, make: type, shape: tuple[int, int], training: bool
) -> None:
    model = make(name)
    depends = dependencies(model, shape, condition=_first(model, shape), draws=3, training=training)
    sites = len(depends)
    past = torch.ones(sites, sites).tril(-1).bool()
    assert not depends[~past].any(), "leak"
    if name not in UNSEEN and not (
        training and "dropout" in name
    ):  # dropout blocks paths at random
        assert depends[past].all(), "unseen past"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in CASES
        if not any(
            other in name
            for other in ("map", "conditions", "logistic", "multi-scale", "autoencoder", "orders")
        )
    ],
)
@torch.no_grad()
def test_the_models_are_the_papers(name: str) -> None:
    """Their logits are those of plain loops over the published equations."""
    model = build(name)
    x, condition = images(model, 1, (3, 4)), conditions(model, 1, (3, 4))
    outputs = (
        reference.gated_pixel_cnn(model, x, condition)
        if isinstance(model, GatedPixelCNN)
        else reference.pixel_rnn(model, x, condition)
    )
    expected = HEADS[model.settings.head](outputs, model.channels, model.levels)
    torch.testing.assert_close(
        model(x, condition).log_prob(x), expected.log_prob(x), rtol=1e-10, atol=1e-10
    )


@every_case
@pytest.mark.parametrize(
    ("shape", "rows"), [(SHAPES[0], "all"), (SHAPES[1], "one"), (SHAPES[0], "gaps")], ids=str
)
@torch.no_grad()
def test_a_walk_equals_the_full_pass(name: str, shape: tuple[int, int], rows: str) -> None:
    model = trained(name)
    x, condition = images(model, 3, shape), conditions(model, 3, shape)
    law = model(x, condition)
    full = torch.stack([law.log_pmf(x, channel) for channel in range(model.channels)], dim=2)
    visited = torch.ones(shape[0], dtype=torch.bool)
    if rows != "all":
        visited[:] = False
        visited[[-1] if rows == "one" else [0, -1]] = True
    seen = 0
    for (channel, row, column), log_pmf in walk(model, x, condition, rows=visited):
        torch.testing.assert_close(
            log_pmf, full[:, :, channel, row, column], rtol=1e-10, atol=1e-10
        )
        seen += 1
    assert seen == int(visited.sum()) * shape[1] * model.channels


@every_case
@torch.no_grad()
def test_a_walk_reads_nothing_later(name: str) -> None:
    model = build(name)
    x, condition = images(model, 2, (3, 4)), conditions(model, 2, (3, 4))
    law = model(x, condition)
    blank = torch.zeros_like(x)
    for (channel, row, column), log_pmf in walk(model, blank, condition):
        torch.testing.assert_close(
            log_pmf, law.log_pmf(x, channel)[:, :, row, column], rtol=1e-10, atol=1e-10
        )
        blank[:, channel, row, column] = x[:, channel, row, column]


@few_cases
def test_samples_come_with_their_log_probability(name: str) -> None:
    model, shape = trained(name), (3, 4)
    condition = conditions(model, 3, shape)

    def drawn(**options: bool) -> Any:
        seed = torch.Generator().manual_seed(0)
        return sample(model, 3, shape, condition=condition, generator=seed, batch_size=2, **options)

    x, nats = drawn(return_log_prob=True)
    torch.testing.assert_close(nats, score(model, x, condition), rtol=1e-10, atol=1e-10)
    assert torch.equal(x, drawn()) and not nats.is_inference()


def test_no_log_probability_of_what_the_model_does_not_draw() -> None:
    model = trained("gated-classes")
    for option in ({"temperature": 0.5}, {"guidance": 2.0}):
        with pytest.raises(UsageError, match="return_log_prob= needs temperature= and guid"):
            sample(model, 1, (2, 2), return_log_prob=True, condition=torch.tensor(0), **option)
    x, nats = sample(trained("gated"), 0, (2, 2), return_log_prob=True)
    assert x.shape == (0, 1, 2, 2) and nats.shape == (0,)


@few_cases
@pytest.mark.parametrize("temperature", [0.5, pytest.param(2.0, marks=pytest.mark.slow)])
def test_temperature_flattens_or_sharpens_each_law(name: str, temperature: float) -> None:
    model = trained(name)
    n, condition = 8_000, _first(model, (1, 1))
    generator = torch.Generator().manual_seed(1)
    draws = sample(
        model,
        n,
        (1, 1),
        condition=condition,
        order=model.orders[0],
        temperature=temperature,
        generator=generator,
        batch_size=n,
    )[:, 0, 0, 0]
    blank = torch.zeros(1, model.channels, 1, 1, dtype=torch.int64)
    first = model(blank, condition).log_pmf(blank, 0)[0, :, 0, 0]
    expected = torch.softmax(first / temperature, 0).detach() * n
    assert _chi_squared_ok(draws.bincount(minlength=model.levels).double(), expected)


@few_cases
def test_temperature_zero_takes_the_likeliest_value(name: str) -> None:
    model = trained(name)
    condition, first = _first(model, (3, 3)), model.orders[0]
    x = sample(model, 1, (3, 3), condition=condition, order=first, temperature=0.0)
    law = model(x, _first(model, (3, 3)))
    for channel in range(model.channels):
        assert torch.equal(law.log_pmf(x, channel).argmax(1), x[:, channel])


@few_cases
def test_the_same_seed_gives_the_same_pictures_whatever_the_batch(name: str) -> None:
    model = build(name)
    draw = lambda n, **kw: sample(  # noqa: E731
        model,
        n,
        (4, 3),
        condition=_first(model, (4, 3)),
        generator=torch.Generator().manual_seed(7),
        **kw,
    )
    x = draw(6)
    assert torch.equal(x, draw(6, batch_size=4))
    assert torch.equal(x[:2], draw(2))
    assert not torch.equal(x[0], x[1])


@few_cases
def test_completion_keeps_what_is_known_and_draws_the_exact_conditional(name: str) -> None:
    """Of two pixels, the first known: frequencies of the second against p(both) / p(first)."""
    model = trained(name)
    x = images(model, 1, (1, 2))
    known = torch.tensor([[True, False]])
    condition = _first(model, (1, 2))
    n = 8_000
    drawn = complete(
        model,
        x,
        known,
        draws=n,
        condition=condition,
        generator=torch.Generator().manual_seed(3),
        batch_size=n,
    )
    assert drawn.shape == (1, n, model.channels, 1, 2)
    assert (drawn[..., 0] == x[:, None, ..., 0]).all()
    ends = torch.tensor(list(itertools.product(range(model.levels), repeat=model.channels)))
    both = x.repeat(len(ends), 1, 1, 1)
    both[:, :, 0, 1] = ends
    joint = score(model, both, condition, order=model.orders[0]).exp()
    place = model.levels ** torch.arange(model.channels).flip(0)
    observed = (drawn[0, :, :, 0, 1] * place).sum(1).bincount(minlength=len(ends)).double()
    assert _chi_squared_ok(observed, joint / joint.sum() * n)


@few_cases
def test_completion_takes_any_mask(name: str) -> None:
    model = build(name)
    x = images(model, 2, (4, 5))
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    drawn = complete(model, x, known, draws=3, condition=conditions(model, 2, (4, 5)))
    assert (drawn == x[:, None]).masked_select(known[:, None].expand(drawn.shape)).all()
    assert ((drawn >= 0) & (drawn < model.levels)).all()
    everything = complete(
        model, x, torch.ones(1, dtype=torch.bool), condition=conditions(model, 2, (4, 5))
    )
    assert torch.equal(everything[:, 0], x)


@every_case
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = build(name)
    encoding = model.conditions and not model.given_by_data
    shape = (6, 6) if encoding else (8, 8)
    x = images(model, 16, shape)
    given = () if encoding else conditions(model, 16, shape)
    told = random_values(model.told, 16, shape)
    (-model(x, (*given, *told)).log_prob(x).mean()).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), parameter_name


@every_case
def test_config_rebuilds_the_model(name: str) -> None:
    model = build(name)
    again = registry.build(type(model).__name__, model.config()).double().eval()
    again.load_state_dict(model.state_dict())
    x = images(model, 2, (4, 4))
    assert torch.equal(
        again(x, conditions(model, 2, (4, 4))).log_prob(x),
        model(x, conditions(model, 2, (4, 4))).log_prob(x),
    )


conditional_case = pytest.mark.parametrize(
    "name", [name for name in CASES if CASES[name]().conditions]
)


@conditional_case
def test_another_condition_gives_another_likelihood(name: str) -> None:
    """Each of several conditions matters by itself."""
    model = build(name)
    x, condition = images(model, 3, (4, 4)), conditions(model, 3, (4, 4))
    before = score(model, x, condition)
    for k, part in enumerate(model.conditions):
        other = list(condition)
        other[k] = other[k] + 1 if part.count is None else (other[k] + 1) % part.count
        assert ((before - score(model, x, tuple(other))).abs() > 1e-6).all(), part


@conditional_case
def test_what_is_unknown_adds_nothing(name: str) -> None:
    """Unknown images of a batch are scored without any bias; the others as if they were alone."""
    model = build(name)
    x, condition = images(model, 3, (4, 4)), conditions(model, 3, (4, 4))
    mixed = score(model, x, forget(condition, torch.tensor([False, True, False])))
    torch.testing.assert_close(
        mixed[[0, 2]], score(model, x, condition)[[0, 2]], rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(
        mixed[1], score(model, x, unknown(model.conditions, 3, (4, 4)))[1], rtol=1e-12, atol=1e-12
    )
    for layer in model.modules():
        if isinstance(layer, ConditionBias):
            for part, weights in layer.named_parameters():
                if not part.startswith("of_positions"):  # which are no condition
                    torch.nn.init.zeros_(weights)
    if "multi-scale" not in name:  # whose large model always knows the small image
        torch.testing.assert_close(mixed[1], score(model, x, condition)[1], rtol=1e-12, atol=1e-12)


@conditional_case
def test_what_is_unknown_teaches_nothing(name: str) -> None:
    """Gradients are finite, also if an unknown value is NaN.

    Those of the encoder are the same without the images whose values are unknown.
    """
    model = build(name)
    x, condition = images(model, 3, (6, 6)), conditions(model, 3, (6, 6))
    given = forget(condition, torch.tensor([False, True, True]))
    (-model(x, given).log_prob(x)).sum().backward()
    found = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in found.values())
    of_encoder = {key for key in found if "upsampling" in key and "large" not in key}
    model.zero_grad()
    (-model(x[:1], index(condition, slice(1))).log_prob(x[:1])).sum().backward()
    for key in of_encoder:
        torch.testing.assert_close(found[key], model.get_parameter(key).grad, rtol=1e-9, atol=1e-9)


@conditional_case
def test_guidance_of_one_and_of_nought(name: str) -> None:
    """1 draws given the condition, 0 without, with the same noise."""
    model, shape = build(name), (4, 3)
    condition, nothing = conditions(model, 4, shape), unknown(model.conditions, 4, shape)

    def drawn(given: Values, **options: float) -> torch.Tensor:
        return sample(
            model, 4, shape, condition=given, generator=torch.Generator().manual_seed(2), **options
        )

    assert torch.equal(drawn(condition, guidance=0.0), drawn(nothing))
    assert torch.equal(drawn(condition, guidance=1.0), drawn(condition))


def test_guidance_is_the_published_combination() -> None:
    """Of one pixel: frequencies of draws against (1 - w) log p(x) + w log p(x | h)."""
    model = build("gated-classes")
    blank, given, nothing = torch.zeros(1, 1, 1, 1).long(), torch.tensor([1]), torch.tensor([-1])
    knowing, ignorant = (model(blank, h).log_pmf(blank, 0)[0, :, 0, 0] for h in (given, nothing))
    expected = torch.softmax(3.0 * knowing - 2.0 * ignorant, dim=0).detach() * 20_000
    generator = torch.Generator().manual_seed(0)
    draws = sample(
        model, 20_000, (1, 1), condition=given, guidance=3.0, generator=generator, batch_size=20_000
    )
    assert _chi_squared_ok(draws.flatten().bincount(minlength=3).double(), expected)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 3.0])
def test_guidance_never_draws_what_is_impossible(guidance: float) -> None:
    """A value without probability, whatever the condition, has none under any guidance."""
    model = build("gated-classes")
    torch.nn.init.constant_(model.head_out.bias[:1], -math.inf)  # type: ignore[index]
    x = sample(model, 200, (1, 2), condition=torch.tensor([1]), guidance=guidance)
    assert set(x.flatten().tolist()) == {1, 2}


@few_cases
def test_common_noise_gives_equal_pictures_for_equal_conditions(name: str) -> None:
    model, shape = build(name), (4, 3)
    same = sample(model, 3, shape, condition=_first(model, shape), common_noise=True)
    assert (same == same[:1]).all()


@pytest.mark.parametrize("name", [name for name in CASES if "logistic" not in name])
def test_a_uniform_model_scores_log2_levels(name: str) -> None:
    model = build(name)
    for part in model.modules():
        if isinstance(part, AutoregressiveModel):
            torch.nn.init.zeros_(part.head_out.weight)
            torch.nn.init.zeros_(part.head_out.bias)
    x = images(model, 3, (5, 4))
    assert bits_per_dim(model, x, _first(model, (5, 4))) == pytest.approx(
        math.log2(model.levels), abs=1e-12
    )


@few_cases
def test_nothing_beats_the_entropy_of_noise(name: str) -> None:
    """On fresh uniform noise, a model that sees its target would score below log2(levels)."""
    model = trained(name, steps=60)
    x = images(model, 500, (4, 4), torch.Generator().manual_seed(99))
    # A cheat gains whole bits; chance, over 8000 values and more, less than a hundredth.
    assert bits_per_dim(model, x, _first(model, (4, 4))) > math.log2(model.levels) - 0.01


@every_case
def test_scores_add_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name)
    x, condition = images(model, 5, (4, 3)), conditions(model, 5, (4, 3))
    per_site = log_prob_map(model, x, condition)
    first = model.orders[0]
    of_one = score(model, x, condition, order=first)
    torch.testing.assert_close(per_site.sum((1, 2, 3)), of_one)
    assert bits_per_dim(model, x, condition, order=first) == pytest.approx(
        -float(per_site.mean()) / math.log(2), rel=1e-12
    )
    with small_passes(2, monkeypatch):
        parts = log_prob_map(model, x, condition)
    torch.testing.assert_close(parts, per_site, rtol=1e-10, atol=1e-10)


@few_cases
def test_the_public_check_agrees(name: str) -> None:
    report = check_causality(build(name), shape=(2, 3))
    assert report.ok, str(report)
    assert not report.unseen
    assert report.total_probability == pytest.approx(1, abs=1e-10)


@few_cases
def test_training_mode_is_left_as_it_was(name: str) -> None:
    model = build(name).train()
    check_causality(model, shape=(2, 2), draws=1)
    for training in (True, False):
        model.train(training)
        sample(model, 1, (2, 2), condition=_first(model, (2, 2)))
        bits_per_dim(model, images(model, 1, (2, 2)), _first(model, (2, 2)))
        assert {part.training for part in model.modules()} == {training}
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())


def test_scores_are_those_of_float32_whatever_surrounds_them() -> None:
    model = GatedPixelCNN(levels=4, features=8, layers=2)
    x = images(model, 3, (5, 4))
    with torch.autocast("cpu", torch.bfloat16):
        inside = score(model, x.to(torch.uint8))
    assert torch.equal(inside, score(model, x))


@pytest.mark.parametrize("family", [GatedPixelCNN, PixelCNN, RowLSTM, DiagonalBiLSTM])
def test_draws_are_those_of_float32_whatever_surrounds_them(family: type[ImageModel]) -> None:
    model = family(levels=4, features=8, layers=2)  # type: ignore[call-arg]
    with torch.autocast("cpu", torch.bfloat16):
        inside = sample(model, 2, (5, 6), generator=torch.Generator().manual_seed(0))
    assert torch.equal(inside, sample(model, 2, (5, 6), generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_models_in_any_precision_draw_values_that_exist(dtype: torch.dtype) -> None:
    model = GatedPixelCNN(levels=4, features=8, layers=2).to(dtype)
    x = sample(model, 256, (16, 16), generator=torch.Generator().manual_seed(0))
    assert x.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name", [name for name in CASES if "codes" not in name]
)  # which have no derivatives
def test_log_prob_has_no_derivative_in_what_it_scores_alone(name: str) -> None:
    """Through log_prob itself: a law must not learn from the value that it is asked about."""
    model = build(name)
    x = images(model, 1, (3, 3)).double().requires_grad_()
    log_prob = model(x, _first(model, (3, 3))).log_prob(x)
    sites = visiting_order(model, 3, 3)
    for k, site in enumerate(sites):
        (gradient,) = torch.autograd.grad(log_prob[0, *site], x, retain_graph=True)
        assert not any(gradient[0, *later] for later in sites[k:])


def test_a_tiny_temperature_takes_the_likeliest_value() -> None:
    model = build("gated").float()
    cold = sample(model, 2, (3, 3), temperature=1e-30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cold, sample(model, 2, (3, 3), temperature=0.0))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_learns_a_source_to_its_entropy(channels: int) -> None:
    """A Markov chain of sites: a value repeats the last one with probability 0.8, or is uniform."""
    levels, shape = 4, (6, 6)
    generator = torch.Generator().manual_seed(0)

    def draw(n: int) -> torch.Tensor:
        x = torch.randint(levels, (n, channels, *shape), generator=generator)
        repeat = torch.rand(x.shape, generator=generator) < 0.8
        previous = None
        for site in raster_order(channels, *shape):
            if previous is not None:
                x[:, *site] = torch.where(repeat[:, *site], x[:, *previous], x[:, *site])
            previous = site
        return x

    same, other = 0.8 + 0.2 / levels, 0.2 / levels
    entropy = -same * math.log2(same) - (levels - 1) * other * math.log2(other)
    sites = channels * math.prod(shape)
    exact = (math.log2(levels) + (sites - 1) * entropy) / sites
    model = GatedPixelCNN(
        channels=channels, levels=levels, features=24, layers=3, kernel_size=3, first_kernel_size=11
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(600):
        x = draw(64)
        loss = -model(x).log_prob(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert exact - 0.01 < bits_per_dim(model, draw(2000)) < exact + 0.05


def _first(model: ImageModel, shape: tuple[int, int]) -> Values:
    return conditions(model, 1, shape)


def _chi_squared_ok(observed: torch.Tensor, expected: torch.Tensor) -> bool:
    """One false alarm in 10,000."""
    return chi_squared_z(observed, expected) < 3.72
