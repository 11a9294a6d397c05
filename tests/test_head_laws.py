"""Heads from their raw outputs by plain loops, values from noise, and where a map's pixels act."""

import math

import pytest
import torch
from borders import enlarged
from torch import Tensor

from nextpixel import MapCondition
from nextpixel.lane_laws import inverse_cdf
from nextpixel.layers.heads import HEADS, LogisticMixture

COMPONENTS = 10


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def mixture_by_loops(
    raw: list[float], values: list[int], levels: int, *, density_at: list[float] | None = None
) -> list[float]:
    """PixelCNN++: log p of each colour of a pixel given the earlier ones, from one pixel's outputs.

    raw holds groups of ten: logits, means of each colour, log-scales of each colour, coefficients.
    """
    channels, k = len(values), COMPONENTS
    groups = [raw[i : i + k] for i in range(0, len(raw), k)]
    logits, means, log_scales = groups[0], groups[1 : 1 + channels], groups[1 + channels :]
    coefficients = log_scales[channels:]
    weights = [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]
    centred = [2 * value / (levels - 1) - 1 for value in values]
    joint = [list(weights)]
    for c in range(channels):
        ps = []
        for j in range(k):
            mean, number = means[c][j], c * (c - 1) // 2
            for earlier in range(c):
                mean += math.tanh(coefficients[number + earlier][j]) * centred[earlier]
            scale = math.exp(min(max(log_scales[c][j], -7), 7))
            if density_at is None:
                half = 1 / (levels - 1)
                above = (
                    1.0 if values[c] == levels - 1 else sigmoid((centred[c] + half - mean) / scale)
                )
                below = 0.0 if values[c] == 0 else sigmoid((centred[c] - half - mean) / scale)
                ps.append(above - below)
            else:
                y = 2 * (density_at[c] - 0.5) / (levels - 1) - 1
                s = sigmoid((y - mean) / scale)
                ps.append(s * (1 - s) / scale * 2 / (levels - 1))
        joint.append([w * p for w, p in zip(joint[-1], ps, strict=True)])
    totals = [sum(part) for part in joint]
    return [math.log(totals[c + 1] / totals[c]) for c in range(channels)]


def raw_outputs(channels: int, levels: int, log_scale: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = HEADS["logistic"].outputs(channels, levels)
    raw = torch.randn(1, size, 2, 3, generator=generator, dtype=torch.float64)
    first = COMPONENTS * (1 + channels)
    raw[:, first : first + COMPONENTS * channels] += log_scale
    raw[:, first + COMPONENTS * channels :] *= 2  # coefficients that tanh bends
    return raw


@pytest.mark.parametrize(("channels", "levels"), [(1, 2), (1, 5), (3, 4), (4, 3)])
@pytest.mark.parametrize("log_scale", [-2.5, 0.0, 6.5])
def test_a_mixture_is_that_of_plain_loops(channels: int, levels: int, log_scale: float) -> None:
    raw = raw_outputs(channels, levels, log_scale)
    law = HEADS["logistic"](raw, channels, levels)
    x = torch.randint(levels, (1, channels, 2, 3), generator=torch.Generator().manual_seed(1))
    y = x + torch.rand(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, density = law.log_prob(x), law.log_density(y)
    for row in range(2):
        for column in range(3):
            here = raw[0, :, row, column].tolist()
            values = x[0, :, row, column].tolist()
            expected = mixture_by_loops(here, values, levels)
            assert found[0, :, row, column].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)
            reals = y[0, :, row, column].tolist()
            expected = mixture_by_loops(here, values, levels, density_at=reals)
            assert density[0, :, row, column].tolist() == pytest.approx(expected, rel=1e-6)
            for channel in range(channels):
                pmf = law.log_pmf(x, channel)[0, :, row, column]
                for value in range(levels):
                    other = [*values[:channel], value, *values[channel + 1 :]]
                    wanted = mixture_by_loops(here, other, levels)[channel]
                    assert float(pmf[value]) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("beyond", "limit"), [(-9.0, -7.0), (9.0, 7.0)])
def test_scales_have_a_floor_and_a_ceiling(beyond: float, limit: float) -> None:
    """Beyond it nothing changes; one unit within, something does."""
    x = torch.zeros(1, 1, 1, 1, dtype=torch.int64)

    def pmf(log_scale: float) -> Tensor:
        raw = torch.zeros(1, 30, 1, 1, dtype=torch.float64)
        raw[:, 10:20] = 0.3 * 2 ** -torch.arange(10.0).view(-1, 1, 1)
        raw[:, 20:] = log_scale
        return HEADS["logistic"](raw, 1, 1001).log_pmf(x, 0)

    assert torch.equal(pmf(beyond), pmf(limit))
    assert not torch.allclose(pmf(limit - math.copysign(1, limit)), pmf(limit))


@pytest.mark.parametrize("head", ["softmax", "bernoulli"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_heads_are_those_of_plain_loops(head: str, channels: int) -> None:
    levels = 2 if head == "bernoulli" else 4
    generator = torch.Generator().manual_seed(0)
    size = HEADS[head].outputs(channels, levels)
    raw = torch.randn(2, size, 2, 3, generator=generator, dtype=torch.float64)
    law = HEADS[head](raw, channels, levels)
    x = torch.randint(levels, (2, channels, 2, 3), generator=generator)
    for b, c, row, column in torch.cartesian_prod(*map(torch.arange, (2, channels, 2, 3))).tolist():
        if head == "bernoulli":
            one = sigmoid(float(raw[b, c, row, column]))
            pmf = [1 - one, one]
        else:
            logits = raw[b, c * levels : (c + 1) * levels, row, column].tolist()
            pmf = [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]
        value = int(x[b, c, row, column])
        assert float(law.log_prob(x)[b, c, row, column]) == pytest.approx(math.log(pmf[value]))
        assert law.log_pmf(x, c)[b, :, row, column].exp().tolist() == pytest.approx(pmf)
        assert float(law.log_density(x + 0.9)[b, c, row, column]) == pytest.approx(
            math.log(pmf[value])
        )


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
def test_a_value_is_the_first_whose_distribution_function_passes_the_noise(
    temperature: float,
) -> None:
    """Also at 0, and on a step of the function, where the next value begins."""
    pmf = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    uniform = torch.tensor([0.0, 0.1, 0.25, 0.25 + 1e-12, 0.5, 0.75, 0.99], dtype=torch.float64)
    found = inverse_cdf(pmf.log().expand(len(uniform), -1), uniform, temperature).tolist()
    if temperature == 0:
        assert found == [3] * len(uniform)
        return
    sharp = [p ** (1 / temperature) for p in pmf.tolist()]
    cdf = [sum(sharp[: v + 1]) / sum(sharp) for v in range(len(sharp))]
    expected = [next(v for v, total in enumerate(cdf) if total > u) for u in uniform.tolist()]
    assert found == expected
    if temperature == 1:
        assert found == [1, 1, 3, 3, 3, 4, 4]


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 6])
def test_a_pixel_of_a_map_acts_around_the_pixels_it_stands_for(scale: int) -> None:
    """What changes when it changes is centred on them, along both axes."""
    condition = MapCondition(1, scale=scale, levels=None, features=4)
    side = 9
    value = torch.zeros(1, 1, side, side, dtype=torch.float64)
    before = enlarged(condition, value, side * scale, side * scale)
    for row, column in [(4, 4), (3, 5)]:
        other = value.clone()
        other[0, 0, row, column] = 3.0
        change = enlarged(condition, other, side * scale, side * scale) - before
        changed = change[0].abs().amax(dim=0) > 1e-12
        for axis, place in ((1, row), (0, column)):
            reached = changed.any(dim=axis).nonzero()[:, 0]
            middle = (int(reached[0]) + int(reached[-1])) / 2
            assert middle == place * scale + (scale - 1) / 2
            assert scale <= len(reached) <= 5 * scale


@pytest.mark.parametrize("levels", [2, 16, 17, 256, 300])
@pytest.mark.parametrize("predicts", [False, True])
def test_values_of_a_mixture_are_found_without_the_others(levels: int, predicts: bool) -> None:
    """The values that tables of all log-probabilities give, and their log-probabilities."""
    outputs = torch.randn(60, 100 + 30 * predicts, 1, 1, dtype=torch.float64)
    outputs[:, 40:70] -= 3  # narrow
    mixture, x = LogisticMixture(outputs, 3, levels), torch.randint(levels, (60, 3, 1, 1))
    for channel in range(3):
        log_pmf = mixture.log_pmf(x, channel).flatten(1)
        uniform = torch.rand(60, dtype=torch.float64)
        found = mixture.quantiles(x, uniform[:, None, None], channel)
        assert torch.equal(found.flatten(), inverse_cdf(log_pmf, uniform))
        expected = log_pmf.gather(1, found.flatten()[:, None])[:, 0]
        nats = mixture.log_prob_of(x, found, channel).flatten()
        torch.testing.assert_close(nats, expected, atol=1e-10, rtol=0)
    outputs[0, 10] = math.nan  # a mean: no value exists
    broken = LogisticMixture(outputs, 3, levels).quantiles(x, torch.full((60, 1, 1), 0.5), 0)
    assert int(broken[0]) >= levels
