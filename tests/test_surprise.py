"""Surprise against expectation: the theorem, over enumerations and over samples."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import build, conditions, images
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from nextpixel import (
    Calibration,
    GatedPixelCNN,
    MapCondition,
    PixelCNN,
    anomaly_map,
    anomaly_score,
    calibrate,
    entropy_map,
    fit_components,
    fit_typicality,
    hidden_statistics,
    load_components,
    load_typicality,
    log_prob_map,
    sample,
    save_components,
    save_typicality,
    score,
    surprise_map,
)
from nextpixel.analysis.calibration import (
    false_alarm_bound,
    images_needed,
    images_needed_alone,
    least_alarm_rate,
    load_calibration,
    save_calibration,
)
from nextpixel.analysis.components import ReducedImages
from nextpixel.border import batches_of
from nextpixel.errors import UsageError
from nextpixel.files.fields import CheckpointError
from nextpixel.files.tensors import write_tensors
from nextpixel.layers.heads import LogisticMixture
from nextpixel.layers.mixture_moments import logistic_moments
from nextpixel.layers.moments import moments

# A softmax, a Bernoulli, logistics, several colours, scales, an LSTM, and conditions.
HEADS = ["gated", "gated-binary", "pixel-cnn-codes-logistic", "gated-logistic", "multi-scale"]
ENUMERATED = {
    "gated": (2, 2),
    "gated-binary": (3, 2),
    "pixel-cnn-codes-logistic": (1, 3),
    "gated-logistic": (1, 2),
    "diagonal-rgb-complete": (1, 3),
    "row-lstm-plain-map": (1, 3),
    "multi-scale": (2, 2),
}


@pytest.mark.parametrize("name", ENUMERATED)
def test_excess_is_a_martingale_difference(name: str) -> None:
    """Σ_x p(x) Σ(s-H) = 0 and Σ_x p(x) [(Σ(s-H))² - ΣV] = 0, for all sites and for each one."""
    model, (height, width) = build(name), ENUMERATED[name]
    sites = model.channels * height * width
    x = torch.tensor(list(itertools.product(range(model.levels), repeat=sites)))
    x = x.view(-1, model.channels, height, width)
    given = tuple(
        value.expand(len(x), *value.shape[1:]) for value in conditions(model, 1, x.shape[2:])
    )
    maps, p = surprise_map(model, x, given), score(model, x, given).exp()
    excess, total = maps.excess, maps.excess.sum(dim=(1, 2, 3))
    weighed = p[:, None, None, None]
    assert abs(float(p.sum()) - 1) < 1e-12
    assert (weighed * excess).sum(dim=0).abs().max() < 1e-12
    assert (weighed * (excess**2 - maps.variance)).sum(dim=0).abs().max() < 1e-12
    assert abs(float((p * (total**2 - maps.variance.sum(dim=(1, 2, 3)))).sum())) < 1e-12
    assert float((p * maps.variance.sum(dim=(1, 2, 3))).sum()) > 0.01


@pytest.mark.parametrize("name", HEADS)
def test_z_of_samples_has_mean_0_and_variance_1(name: str) -> None:
    """By image, by region and by window; each |statistic| < 4.5 standard errors: 1e-5 a check."""
    model, n = build(name), 250
    x = sample(model, n, shape=(5, 4), condition=_one(model), generator=_seed(5))
    maps = surprise_map(model, x, _one(model))
    region = torch.zeros(5, 4, dtype=torch.bool)
    region[1:4, 2:] = True
    for z in (maps.z, maps.z_of(region), maps.window_z(3)[:, 0, 2, 2]):
        mean, square = z.mean(), (z**2).mean()
        assert abs(mean) < 4.5 / math.sqrt(n)
        assert abs(square - 1) < 4.5 * float((z**2).std()) / math.sqrt(n)


def _seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def _one(model: nn.Module) -> tuple[torch.Tensor, ...]:
    return tuple(value[0] for value in conditions(model, 1, (5, 4)))


@pytest.mark.parametrize("name", [*HEADS, "gated-rgb", "gated-all-conditions"])
def test_the_three_maps_are_those_of_the_distributions(name: str) -> None:
    model = build(name)
    x, given = images(model, 2, (4, 3)), conditions(model, 2, (4, 3))
    with torch.no_grad():
        distribution = model(x, given)
        log_pmf = torch.stack([distribution.log_pmf(x, c) for c in range(model.channels)], dim=2)
    entropy = -(log_pmf.exp() * log_pmf).sum(dim=1)
    variance = (log_pmf.exp() * (log_pmf + entropy[:, None]) ** 2).sum(dim=1)
    maps = surprise_map(model, x, given)
    torch.testing.assert_close(maps.surprise, -log_prob_map(model, x, given), rtol=0, atol=1e-12)
    torch.testing.assert_close(maps.expectation, entropy, rtol=0, atol=1e-11)
    torch.testing.assert_close(maps.variance, variance, rtol=0, atol=1e-11)
    assert torch.equal(entropy_map(model, x, given), maps.expectation)


@pytest.mark.parametrize(
    ("levels", "dtype"),
    [(256, torch.float32), (256, torch.float64), (65, torch.float32), (127, torch.float32)],
)
def test_a_mixture_of_many_levels_is_as_near_as_stated(levels: int, dtype: torch.dtype) -> None:
    """Narrow and wide components, together and apart, at the ends of the range and beyond them."""
    scales = torch.tensor([-7.0, -5.0, -4.0, -3.0, -2.0, 0.0, 3.0])[:, None, None, None]
    raw = torch.randn(7, 60, 9, 9, generator=_seed(1), dtype=torch.float64)
    raw[:, :10] *= 3
    raw[:, 30:50] += scales
    raw[:, 30:50, :3] = raw[:, 30:31, :3] + raw[:, 30:50, :3] / 10  # of about one width,
    raw[:, 10:30, :2] = raw[:, 10:11, :2] + raw[:, 10:30, :2] / 10  # and at one place
    raw[:, 10:30, -2:] = raw[:, 10:30, -2:].sign() + raw[:, 10:30, -2:] / 50
    x = torch.randint(levels, (7, 2, 9, 9), generator=_seed(2))
    exact = LogisticMixture(raw, 2, levels)
    log_pmf = torch.stack([exact.log_pmf(x, c) for c in range(2)], dim=2)
    entropy = -(log_pmf.exp() * log_pmf).sum(dim=1)
    variance = (log_pmf.exp() * (log_pmf + entropy[:, None]) ** 2).sum(dim=1)
    _, found, spread = moments(LogisticMixture(raw.to(dtype), 2, levels), x).double()
    assert (found - entropy).abs().max() < 2e-3 and (found - entropy).mean().abs() < 1e-5
    assert (spread - variance).abs().max() < 1e-2 and (spread - variance).mean().abs() < 1e-4
    assert (found - entropy).abs().mean() < 1e-4


def test_wide_components_and_distant_ones_keep_their_digits() -> None:
    """Of 65,536 levels: a value's mass must not cancel, nor a place far from 0 be rounded."""
    weight = torch.tensor([[0.3, 1.0, 0.5], [0.7, 0.0, 0.5]])
    mean = torch.tensor([[1e4, 3e4, 65003.3], [6e4, -1e5, 65000.6]])
    slope = torch.tensor([[5e-5, 1e-5, 0.9], [3e-5, 2e-5, 0.8]])
    edges = torch.arange(65535, dtype=torch.float64)[:, None, None] + 0.5
    below = (weight * ((edges - mean.double()) * slope).sigmoid()).sum(dim=1)
    ends = torch.zeros(1, 3), torch.ones(1, 3)
    pmf = torch.cat([ends[0], below, ends[1]]).diff(dim=0).clamp(min=1e-300)
    found = logistic_moments(weight, mean, slope, 65536)[0].double()
    assert (found - (-pmf * pmf.log()).sum(dim=0)).abs().max() < 3e-5


def test_impossible_values_cost_nothing_in_expectation() -> None:
    """A probability of zero adds 0, not NaN; what is certain neither surprises nor is expected."""

    class Certain(nn.Module):
        channels, levels = 1, 3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = torch.full((len(x), 3, *x.shape[2:]), -math.inf)
            logits[:, 1] = 0
            return logits

    sure = surprise_map(Certain(), torch.ones(1, 1, 3, 3, dtype=torch.int64))
    assert not any(maps.any() for maps in (sure.surprise, sure.expectation, sure.variance))
    assert sure.z == 0
    assert surprise_map(Certain(), torch.zeros(1, 1, 3, 3, dtype=torch.int64)).z == math.inf


def test_windows_are_sums_and_the_score_is_their_largest() -> None:
    model = build("gated-rgb")
    x = images(model, 2, (6, 5))
    maps = surprise_map(model, x)
    for k in (1, 2, 3, 40):
        z = maps.window_z(k)[:, 0]
        for row, column in ((0, 0), (3, 2), (5, 4)):
            region = torch.zeros(6, 5, dtype=torch.bool)
            top, left = max(0, row - k // 2), max(0, column - k // 2)
            region[top : row - k // 2 + k, left : column - k // 2 + k] = True
            torch.testing.assert_close(z[:, row, column], maps.z_of(region), rtol=1e-9, atol=1e-9)
    # A mirror image has the same z, mirrored; a model that knows the order needs none.
    both = anomaly_map(model, x, windows=(3, 2), mirrored=True)
    turned = anomaly_map(model, x.flip(3), windows=(3,), mirrored=True)
    torch.testing.assert_close(turned.z[:, 0], both.z[:, 0].flip(2))
    one = anomaly_score(model, x[0], windows=(3, 5))
    expected = maps.window_z(3, 5)[0].amax(dim=(1, 2)).mean()
    torch.testing.assert_close(one, expected)


def test_a_model_of_several_orders_looks_in_all_of_them() -> None:
    """The map is the mean over orders, and -log p that of the mixture."""
    model = build("gated-orders")
    x = images(model, 2, (4, 5))
    found = anomaly_map(model, x, windows=(3,))
    each = [surprise_map(model, x, order=order) for order in model.orders]
    z = torch.stack([maps.window_z(3) for maps in each])
    assert len(each) == 2 and (z[0] - z[1]).abs().max() > 0.01
    torch.testing.assert_close(found.z, z.mean(dim=0))
    torch.testing.assert_close(found.nats, -score(model, x))
    turned = anomaly_map(model, x.flip(3), windows=(3,)).z.flip(3)
    both = anomaly_map(model, x, windows=(3,), mirrored=True)
    torch.testing.assert_close(both.z, (found.z + turned) / 2)


def test_a_damaged_patch_is_where_z_is_largest() -> None:
    """Samples of a model with strong structure; one 3×3 patch is drawn anew, evenly."""
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=8, features=8, layers=2, kernel_size=3)
    with torch.no_grad():
        model.head_out.weight.mul_(20)
    x = sample(model, 8, shape=(12, 12), generator=_seed(1))
    bad = x.clone()
    bad[:, :, 6:9, 3:6] = torch.randint(8, (8, 1, 3, 3), generator=_seed(2))
    maps = anomaly_map(model, bad, windows=(3,))
    assert (maps.score > anomaly_score(model, x, windows=(3,))).float().mean() > 0.8
    where = maps.z[:, 0].flatten(1).argmax(dim=1)
    assert ((where // 12 - 7).abs().le(4) & (where % 12 - 4).abs().le(4)).float().mean() > 0.8


@pytest.mark.parametrize("name", ["gated", "multi-scale", "gated-all-conditions"])
def test_hidden_statistics_are_those_of_the_maps(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows at a time or all at once; and the model keeps its hooks and its mode."""
    model = build(name).train()
    x, given = images(model, 3, (5, 4)), conditions(model, 3, (5, 4))
    at_once = hidden_statistics(model, x, given)
    monkeypatch.setattr("nextpixel.scoring.rows_per_pass", lambda *_: 1)
    torch.testing.assert_close(hidden_statistics(model, x, given), at_once, rtol=1e-9, atol=1e-9)
    assert model.training and not any(part._forward_pre_hooks for part in model.modules())
    network = next(model.scales()).network
    kept = []
    hook = network.head_out.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    with torch.no_grad():
        model.eval()(x, given)
    hook.remove()
    maps = kept[0]
    half, side = maps.shape[2] // 2, (maps.shape[3] + 1) // 2
    expected = [maps.mean(dim=(2, 3)), maps.std(dim=(2, 3), unbiased=False)]
    quarter = maps[:, :, half:, :side].mean(dim=(2, 3))
    width = maps.shape[1]
    torch.testing.assert_close(at_once[:, : 2 * width], torch.cat(expected, dim=1))
    torch.testing.assert_close(at_once[:, 4 * width : 5 * width], quarter)


def test_typicality_is_a_mahalanobis_distance(tmp_path: Path) -> None:
    model = build("gated")
    x = images(model, 300, (4, 4), _seed(3))
    whole = fit_typicality(model, x)
    parts = fit_typicality(model, (x[start : start + 70] for start in range(0, 300, 70)))
    torch.testing.assert_close(whole.correlation, parts.correlation)
    found = hidden_statistics(model, x)
    covariance = torch.outer(whole.deviation, whole.deviation) * whole.correlation
    away = found - found.mean(dim=0)
    squares = (away @ covariance.inverse() * away).sum(dim=1)
    torch.testing.assert_close(whole.distance(model, x), squares.sqrt(), rtol=1e-6, atol=1e-6)
    assert 0 < whole.shrinkage < 0.5
    # Flat images are likely here as anywhere, but none of the normal ones is flat.
    flat = torch.zeros(4, 1, 4, 4, dtype=torch.int64)
    assert whole.distance(model, flat).min() > whole.distance(model, x).median()
    save_typicality(whole, tmp_path / "t.safetensors")
    again = load_typicality(tmp_path / "t.safetensors")
    assert torch.equal(again.distance(model, x[0]), whole.distance(model, x[0]))
    assert (again.images, again.shrinkage, again.model) == (300, whole.shrinkage, whole.model)
    with pytest.raises(UsageError, match="another model"):
        whole.distance(build("gated", seed=1), x)
    with pytest.raises(UsageError, match="at least two"):
        fit_typicality(model, x[:1])
    parts = {name: getattr(whole, name) for name in ("mean", "deviation", "correlation")}
    for name, change in (("mean", math.nan), ("deviation", 0.0), ("correlation", -1.0)):
        save_typicality(replace(whole, **{name: parts[name] * change}), tmp_path / "t")
        with pytest.raises(CheckpointError, match="no means and covariance"):
            load_typicality(tmp_path / "t")
    few = replace(whole, **{k: v[:1] if v.ndim == 1 else v[:1, :1] for k, v in parts.items()})
    with pytest.raises(UsageError, match="is of 1 numbers, but the model has"):
        few.distance(model, x)
    write_tensors(tmp_path / "other", {"mean": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="no typicality"):
        load_typicality(tmp_path / "other")


@pytest.mark.parametrize("size", [(5, 7), (40, 33)])
def test_what_principal_components_leave(size: tuple[int, int], tmp_path: Path) -> None:
    model = PixelCNN(channels=2, levels=64, features=2, layers=1)
    patterns = torch.randint(8, (4, 2, *size), generator=_seed(0))
    weights = torch.randint(2, (90, 4), generator=_seed(1))
    x = torch.einsum("nk,kchw->nchw", weights, patterns)
    fitted = fit_components(model, (x[start : start + 40] for start in range(0, 90, 40)))
    small = tuple(min(side, 32) for side in size)
    reduced = functional.adaptive_avg_pool2d(x.double(), small).flatten(1).numpy()
    away = reduced - reduced.mean(axis=0)
    _, deviations, axes = np.linalg.svd(away, full_matrices=False)
    count = int(np.searchsorted(np.cumsum(deviations**2) / (deviations**2).sum(), 0.75)) + 1
    assert count == len(fitted.components) < 4 and fitted.images == 90
    rest = away - away @ axes[:count].T @ axes[:count]
    np.testing.assert_allclose(
        fitted.residual(model, x).numpy(), np.sqrt((rest**2).mean(axis=1)), atol=1e-4
    )
    # A flat image lies outside of all mixtures of these patterns; images of other sizes compare.
    flat = torch.full((1, 2, *size), 40)
    assert fitted.residual(model, flat)[0] > fitted.residual(model, x).max()
    larger = x[:3].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    if size[0] < 32:
        torch.testing.assert_close(fitted.residual(model, larger), fitted.residual(model, x[:3]))
    save_components(fitted, tmp_path / "c.safetensors")
    again = load_components(tmp_path / "c.safetensors")
    assert torch.equal(again.residual(model, x[0]), fitted.residual(model, x[:1])[0])
    with pytest.raises(UsageError, match="2 channels and 64 levels, not of 1 and 4"):
        fitted.residual(build("gated"), torch.zeros(1, 1, 4, 4, dtype=torch.int64))
    with pytest.raises(UsageError, match="at least two"):
        fit_components(model, x[:1])
    same = fit_components(model, x[:1].expand(5, -1, -1, -1))
    assert len(same.components) == 0 and same.residual(model, x[0]) == 0
    for change in (
        {"mean": fitted.mean * math.nan},
        {"mean": fitted.mean[:, :0], "components": fitted.components[:, :, :0]},
        {"components": fitted.components * 2},
    ):
        save_components(replace(fitted, **change), tmp_path / "d")
        with pytest.raises(CheckpointError, match="its numbers are no principal"):
            load_components(tmp_path / "d")
    write_tensors(tmp_path / "other", {"mean": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="no principal components"):
        load_components(tmp_path / "other")


def test_programs_give_normal_images_in_many_forms() -> None:
    model, x = PixelCNN(levels=8, features=2, layers=1), torch.randint(8, (30, 1, 5, 7))
    whole = fit_components(model, x)
    forms = [x.split(11), list(x.split(11)), DataLoader(TensorDataset(x), 11)]
    forms += [DataLoader(TensorDataset(x, torch.zeros(30)), 11), [(x, None)], iter(x)]
    for form in forms:
        assert torch.equal(fit_components(model, form).components, whole.components)
    for form in forms[:3]:
        assert fit_typicality(model, form).images == 30
    with pytest.raises(TypeError, match="images has type int; give a batch"):
        next(batches_of(3))
    for fit in (fit_components, fit_typicality):
        with pytest.raises(UsageError, match="contains the value 107"):
            fit(model, x.clamp(min=7) + 100)
    with pytest.raises(UsageError, match="contains the value -1"):
        whole.residual(model, x - 1 - x)
    # The largest images decide the size, wherever they come; rounding is nothing.
    wide = torch.randint(8, (9, 1, 40, 9))
    first, last = (fit_components(model, form) for form in ([x, wide], [wide, x]))
    assert first.mean.shape == last.mean.shape == (1, 32, 9)
    torch.testing.assert_close(first.residual(model, x), last.residual(model, x))
    flat = torch.arange(5).view(-1, 1, 1, 1).expand(-1, 1, 6, 6)
    assert fit_components(model, flat).residual(model, flat + 3).tolist() == [0.0] * 5


def test_components_are_those_of_spread_images() -> None:
    """Of a long stream some are kept, in bounded memory, from its beginning and its end alike."""
    kept = ReducedImages(levels=256)
    for start in range(0, 5000, 500):
        values = torch.arange(start, start + 500) // 20
        kept.add(values.view(-1, 1, 1, 1).expand(-1, 1, 2, 2))
    fitted = kept.fitted()
    assert fitted.images == 5000 and len(kept._kept) < 1024
    assert float(fitted.mean.mean()) == pytest.approx(124.5, abs=1)


def test_normal_images_raise_alarms_at_the_rate(tmp_path: Path) -> None:
    """P(p ≤ α) = ⌊α(n+1)⌋/(n+1) of continuous scores; 1,000 draws, 4.5 standard errors."""
    generator = np.random.default_rng(0)
    drawn = generator.standard_normal((20_000, 20))
    p = np.array([calibrate({"z": row[1:]}).p_values("z", row[:1])[0] for row in drawn[:1000]])
    for rate in (0.05, 0.1, 0.52):
        exact = math.floor(rate * 20 + 1e-9) / 20
        assert abs((p <= rate).mean() - exact) < 4.5 * math.sqrt(exact / 1000)
    known = calibrate({"z": drawn[:99, 0], "far": np.round(drawn[:99, 1])})
    scores = {"z": drawn[100:400, 0], "far": np.round(drawn[100:400, 1])}
    limit = known.threshold("z", 0.1)
    assert np.array_equal(scores["z"] > limit, known.p_values("z", scores["z"]) <= 0.1)
    assert np.array_equal(scores["z"] > limit, known.alarms({"z": scores["z"]}, 0.1))
    assert np.array_equal(known.combined({"z": scores["z"]}), known.p_values("z", scores["z"]))
    weights = {"z": 3.0, "far": 1.0}
    for image in range(0, 300, 60):  # by the definition: the n + 1 are ranked together
        every = np.stack([np.r_[known.scores[c], scores[c][image]] for c in weights])
        ranks = (every[:, None] >= every[:, :, None]).sum(axis=2) / np.array([[3.0], [1.0]])
        least = ranks.min(axis=0)
        p_value = (least <= least[-1]).mean()
        assert known.combined(scores, weights)[image] == pytest.approx(p_value)
    # An image that only one column finds strange: just as many normal ones as are needed.
    share = {"z": 0.4, "far": 0.25, "near": 0.15}
    for name, needed in images_needed_alone(0.1, share).items():
        for count in range(max(9, needed - 1), needed + 1):
            many = {column: np.arange(count) * 1.0 for column in share}
            many["far"], many["near"] = np.roll(many["far"], 3), np.roll(many["near"], 7)
            strange = {column: [99.0 if column == name else -1.0] for column in share}
            assert calibrate(many).alarms(strange, 0.1, share)[0] == (count == needed)
    for count in (9, 60, 98, 99, 730):
        assert images_needed(least_alarm_rate(count)) <= count
    # What rounding changes counts as equal: p-values grow by nothing else, and not over the order.
    rounded = {name: values * (1 + 1e-9) for name, values in known.scores.items()}
    within = dict.fromkeys(known.scores, 1e-6)
    same = known.combined(known.scores, within=within)
    assert np.array_equal(known.combined(rounded, within=within), same)
    assert np.array_equal(known.combined(known.scores), same)
    assert not np.array_equal(known.combined(rounded), same)
    alone = known.p_values("z", [math.inf, -math.inf], within=1e-6)
    assert np.array_equal(alone, [0.01, 1.0])
    with pytest.raises(UsageError, match="within.*must be a number from 0"):
        known.p_values("z", [0.0], within=-1.0)
    with pytest.raises(UsageError, match="within.*must name the columns"):
        known.combined(scores, within={"z": 0.0})
    with pytest.raises(UsageError, match="positive"):
        known.combined(scores, {"z": 0.75, "far": 0.0})
    with pytest.raises(UsageError, match="must name the columns z, far"):
        known.combined(scores, {"z": 1.0})
    assert known.quantiles("z", [math.inf, -math.inf]).tolist() == [1, 0]
    save_calibration(known, tmp_path / "c.safetensors")
    again = load_calibration(tmp_path / "c.safetensors")
    assert isinstance(again, Calibration) and np.array_equal(
        again.scores["far"], known.scores["far"]
    )
    # The true rate for given images is Beta(k, n+1-k); of many sets of images 95 % are below.
    kth = np.sort(generator.random((20_000, 99)), axis=1)[:, 9]  # the rate above the 10th highest
    assert abs((kth < false_alarm_bound(99, 0.1)).mean() - 0.95) < 4.5 * math.sqrt(0.05 / 20_000)


def test_several_scores_raise_alarms_at_the_rate_and_below_its_bound() -> None:
    """Of correlated scores the rate on average; of nearly all sets of images the bound."""
    generator = np.random.default_rng(1)
    weights, n = {"a": 0.4, "b": 0.25, "c": 0.15, "d": 0.2}, 60
    mixing = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [-0.5, 0, 1, 0], [0, 0, 0, 1]])
    names, rates = list(weights), []
    for _ in range(150):
        drawn = mixing @ generator.standard_normal((4, n + 400))
        known = calibrate(dict(zip(names, drawn[:, :n], strict=True)))
        scores = dict(zip(names, drawn[:, n:], strict=True))
        rates.append(known.alarms(scores, 0.1, weights).mean())
    # ⌊α(n+1)⌋/(n+1) = 0.098 but for images that are as strange as one another.
    error = np.std(rates) / math.sqrt(150)
    assert 0.075 < np.mean(rates) < 6 / 61 + 4 * error
    assert (np.array(rates) < false_alarm_bound(n, 0.1)).mean() > 0.9


def test_what_cannot_be_calibrated_is_refused() -> None:
    known = calibrate({"z": np.arange(50.0)})
    assert (images_needed(0.01), images_needed(0.02)) == (99, 49)
    for call, match in (
        (lambda: known.threshold("z", 0.01), "at least 99"),
        (lambda: known.alarms({"z": [1.0]}, 0.0), "between 0 and 1"),
        (lambda: known.p_values("y", [1.0]), "not calibrated"),
        (lambda: known.p_values("z", [math.nan]), "NaN"),
        (lambda: calibrate({"z": [1.0], "y": [1.0, 2.0]}), "1 scores of z but 2 of y"),
        (lambda: calibrate({}), "columns"),
        (
            lambda: anomaly_map(build("gated"), images(build("gated"), 1, (3, 3)), windows=()),
            "sides",
        ),
    ):
        with pytest.raises(UsageError, match=match):
            call()
    mapped = GatedPixelCNN(levels=2, features=8, layers=1, condition=MapCondition(1, levels=2))
    x, given = images(mapped, 1, (4, 3)), torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    with pytest.raises(UsageError, match="width 3"):
        anomaly_map(mapped, x, given, mirrored=True)
