"""Heads: probabilities against sums, densities against integrals, discrete against continuous."""

import math

import pytest
import torch

from nextpixel import DiagonalBiLSTM, GatedPixelCNN, bits_per_dim, dequantised_bits_per_dim
from nextpixel.layers.heads import HEADS, LogisticMixture
from nextpixel.scoring import dequantised


def mixture(channels: int, levels: int, *, scale: float = 1.0, batch: int = 2) -> LogisticMixture:
    torch.manual_seed(0)
    outputs = torch.randn(batch, LogisticMixture.outputs(channels, levels), 2, 3).double() * scale
    return LogisticMixture(outputs, channels, levels)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_a_mixture_is_the_difference_of_distribution_functions(levels: int) -> None:
    law = mixture(1, levels)
    edges = (2 * (torch.arange(levels) - 0.5) / (levels - 1) - 1).double()
    expected = torch.zeros(2, levels, 2, 3).double()
    for k in range(10):
        mean, scale = law.means[:, 0, k], law.log_scales[:, 0, k].exp()
        below = [torch.sigmoid((edge - mean) / scale) for edge in edges]
        below = [torch.zeros_like(mean), *below[1:], torch.ones_like(mean)]
        for v in range(levels):
            expected[:, v] += law.logits[:, k].exp() * (below[v + 1] - below[v])
    x = torch.zeros(2, 1, 2, 3, dtype=torch.int64)
    torch.testing.assert_close(law.log_pmf(x, 0).exp(), expected)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_a_mixture_over_three_colours_sums_to_one(scale: float) -> None:
    levels = 4
    law = mixture(3, levels, scale=scale, batch=1)
    total = torch.zeros(2, 3).double()
    for x in torch.cartesian_prod(*[torch.arange(levels)] * 3):
        total += law.log_prob(x.view(1, 3, 1, 1).expand(1, 3, 2, 3)).sum(dim=1)[0].exp()
    torch.testing.assert_close(total, torch.ones(2, 3).double())


def test_colours_depend_on_earlier_colours_as_a_joint_mixture() -> None:
    """p(x_R, x_G) = Σ_k π_k P_k(x_R) P_k(x_G | x_R): the factors share their component."""
    law = mixture(2, 5)
    x = torch.randint(5, (2, 2, 2, 3))
    joint = torch.logsumexp(
        law.logits + law._mass(x, x[:, 0, None], 0) + law._mass(x, x[:, 1, None], 1), dim=1
    )
    torch.testing.assert_close(law.log_prob(x).sum(dim=1), joint)
    other = x.clone()
    other[:, 0] = (x[:, 0] + 1) % 5
    assert not torch.allclose(law.log_pmf(x, 1), law.log_pmf(other, 1))


def test_the_density_of_a_mixture_integrates_to_its_probabilities() -> None:
    """The density integrates to P(v) over [v, v+1), except at the ends, and to 1 over all reals."""
    levels, fine = 6, 100
    law = mixture(1, levels, scale=0.3)
    y = (torch.arange(-60 * fine, 66 * fine).double() + 0.5) / fine
    density = torch.cat([law.log_density(v.expand(2, 1, 2, 3)).exp() for v in y], dim=1)
    torch.testing.assert_close(
        density.sum(1) / fine, torch.ones(2, 2, 3).double(), rtol=0, atol=2e-3
    )
    pmf = law.log_pmf(torch.zeros(2, 1, 2, 3, dtype=torch.int64), 0).exp()
    for v in range(1, levels - 1):
        inside = density[:, (y >= v) & (y < v + 1)].sum(1) / fine
        torch.testing.assert_close(inside, pmf[:, v], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_mixtures_stay_finite(sign: int) -> None:
    outputs = torch.full((1, LogisticMixture.outputs(3, 256), 1, 1), sign * 1e3).requires_grad_()
    x = torch.tensor([0, 128, 255]).view(1, 3, 1, 1)
    log_prob = LogisticMixture(outputs, 3, 256).log_prob(x)
    log_prob.sum().backward()
    assert not log_prob.isnan().any()
    assert outputs.grad is not None and not outputs.grad.isnan().any()


@pytest.mark.parametrize(("head", "levels"), [("softmax", 5), ("bernoulli", 2)])
def test_a_discrete_model_is_a_piecewise_constant_density(head: str, levels: int) -> None:
    """The identity of the papers: E log p(x + u) = log P(x) for a constant density on [v, v+1)."""
    model = DiagonalBiLSTM(channels=2, levels=levels, features=8, layers=1, head=head)
    x = torch.randint(levels, (5, 2, 4, 3))
    noise = torch.Generator().manual_seed(0)
    assert dequantised_bits_per_dim(model, x, generator=noise) == pytest.approx(
        bits_per_dim(model, x), abs=1e-12
    )
    kind = HEADS[head]
    law = kind(torch.randn(5, kind.outputs(2, levels), 4, 3), 2, levels)
    assert torch.equal(law.log_density(x + torch.rand(x.shape) * 0.999), law.log_prob(x))


@pytest.mark.parametrize("levels", [4096, 65536])
def test_dequantised_values_stay_below_the_next_integer(levels: int) -> None:
    x = torch.full((1, 1, 1000, 1000), levels - 1)
    y = dequantised(x, torch.Generator().manual_seed(0))
    assert torch.equal(y.floor().long(), x)


def test_the_dequantised_figure_of_a_mixture_is_a_bound() -> None:
    """Jensen: a density of dequantised data is at most as good as its rounding on integers."""
    model = GatedPixelCNN(levels=16, features=8, layers=2, head="logistic")
    x = torch.randint(16, (20, 1, 6, 6))
    bound = dequantised_bits_per_dim(model, x, generator=torch.Generator().manual_seed(0))
    assert bound > bits_per_dim(model, x)
    assert bound == dequantised_bits_per_dim(model, x, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="nothing to score"):
        dequantised_bits_per_dim(model, x[:0])


def test_the_density_is_on_the_scale_of_the_integers() -> None:
    """One wide component has the density 1 / (4 s) in the middle, times the width of a value."""
    outputs = torch.zeros(1, LogisticMixture.outputs(1, 256), 1, 1).double()
    outputs[:, 20:30] = 5.0
    law = LogisticMixture(outputs, 1, 256)
    middle = float(law.log_density(torch.full((1, 1, 1, 1), 128.0).double()))
    assert middle == pytest.approx(math.log(2 / 255 / (4 * math.exp(5))), rel=1e-6)
    assert middle == pytest.approx(float(law.log_prob(torch.full((1, 1, 1, 1), 128))), abs=1e-4)
