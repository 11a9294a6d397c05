"""Auto-encoders: exact given a code, bounded without, learning what only the encoder sees."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import build, images
from test_training import dataset
from torch import nn

from nextpixel import (
    GatedPixelCNN,
    TrainConfig,
    VectorCondition,
    initial_state,
    sample,
    save,
    score,
    train,
)
from nextpixel.analysis.condition_worth import condition_worth
from nextpixel.autoencoding import (
    divergence,
    importance_weighted_bound,
    likelihood_of,
    lower_bound,
    reconstruct,
)
from nextpixel.checkpoint import load_trainable
from nextpixel.cli.app import main
from nextpixel.data.splits import Split, subset
from nextpixel.devices import draw_noise
from nextpixel.errors import UsageError
from nextpixel.layers.image_encoder import ImageEncoder
from nextpixel.models.autoencoder import (
    ConvolutionalAutoencoder,
    PixelCNNAutoencoder,
    gaussian_divergence,
)
from nextpixel.models.embedding import Embedding
from nextpixel.models.trainable import Trainable
from nextpixel.scoring import order_scores
from nextpixel.training.compatibility import check_fit
from nextpixel.training.evaluation import evaluate, validation_of


def autoencoder(
    size: tuple[int, int] = (6, 5), *, code: int = 2, **options: float | bool
) -> PixelCNNAutoencoder:
    torch.manual_seed(0)
    decoder = GatedPixelCNN(
        levels=4, features=12, layers=2, kernel_size=3, condition=VectorCondition(code)
    )
    return PixelCNNAutoencoder(decoder=decoder, size=size, encoder_features=8, **options)  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_a_condition_it_is_the_decoder_given_the_code() -> None:
    model = build("autoencoder")
    x = images(model, 3, (6, 6))
    torch.testing.assert_close(model(x).log_prob(x), model.decoder(x, model.encode(x)).log_prob(x))
    assert torch.equal(score(model, x, model.encode(x)), score(model.decoder, x, model.encode(x)))


def test_images_of_a_code_sum_to_one_and_other_codes_give_others() -> None:
    """p(x | h) is a distribution for every h; p(x | h(x)), with a code for each image, is none."""
    model = autoencoder((1, 3)).double()
    every = torch.cartesian_prod(*[torch.arange(4)] * 3).view(-1, 1, 1, 3)
    for code in torch.randn(3, 1, 2, generator=generator()):
        assert float(score(model, every, code).exp().sum()) == pytest.approx(1, abs=1e-9)


def test_the_encoder_learns_what_the_decoder_cannot_know() -> None:
    """Images of one shade each: the first pixel is a surprise to everyone who has no code."""
    shades = torch.randint(4, (64, 1, 1, 1), generator=generator()).expand(64, 1, 6, 5).contiguous()
    data = dataset(64)
    data = data.__class__(
        **{**vars(data), "train": data.train.__class__(images=shades.numpy().astype("uint8"))}
    )
    model, config = (
        autoencoder(),
        TrainConfig(steps=150, batch_size=32, learning_rate=1e-2, precision="float32"),
    )
    list(train(initial_state(model, config), data, config))
    first = (slice(None), 0, 0, 0)
    given = model.eval()(shades).log_prob(shades).detach()[first]
    assert float(given.mean()) > -0.2  # of log 4 = 1.39 nats
    worth = condition_worth(model, data.train)
    assert worth.bits > 4 * worth.standard_error > 0
    assert worth.accuracy is None and worth.class_bits is None


def test_with_dropped_codes_it_is_the_unconditional_model_too() -> None:
    """Images of one shade each: without a code they cost at least their entropy."""
    shades = torch.randint(4, (64, 1, 1, 1), generator=generator()).expand(64, 1, 6, 5).contiguous()
    data = replace(dataset(64), train=Split(images=shades.numpy().astype(np.uint8)))
    worths = []
    for share in (0.0, 0.5):
        options = {"learning_rate": 1e-2, "precision": "float32", "condition_dropout": share}
        config = TrainConfig(steps=150, batch_size=32, **options)  # type: ignore[arg-type]
        model = autoencoder()
        list(train(initial_state(model, config), data, config))
        worths.append(condition_worth(model, data.train, with_nothing=True))
    without, dropped = worths
    frequencies = shades[:, 0, 0, 0].bincount() / 64
    entropy = -float((frequencies * frequencies.log2()).sum())
    assert dropped.given < 0.5 and without.given < 0.5
    assert dropped.nothing is not None and without.nothing is not None
    assert entropy <= dropped.nothing < 12 and without.nothing > 30


def test_dropped_codes_teach_the_encoder_nothing() -> None:
    model = build("autoencoder").train()
    x = images(model, 3, (6, 6))
    forgotten = torch.tensor([True, False, True])
    nothing = torch.full((3, 4), torch.nan, dtype=torch.float64)
    law = model(x, forgotten).log_prob(x)
    torch.testing.assert_close(law[1], model(x).log_prob(x)[1])
    torch.testing.assert_close(law[[0, 2]], model(x, nothing).log_prob(x)[[0, 2]])
    law[[0, 2]].sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.encoder.parameters())
    config = TrainConfig(steps=1, condition_dropout=0.1)
    with pytest.raises(
        ValueError, match=r"condition_dropout=0.1 is not for variational auto-encoders"
    ):
        check_fit(autoencoder(variational=True), dataset(), config, 1)
    with pytest.raises(ValueError, match="needs a conditional model"):
        check_fit(
            ConvolutionalAutoencoder(levels=4, size=(6, 5), code_size=3), dataset(), config, 1
        )


def test_an_inactive_encoder_still_tells_images_apart_and_learns() -> None:
    """Its biases let no unit be active; with plain ReLUs it could never learn again."""
    x = torch.randint(4, (5, 3, 9, 6))
    for slope in (None, 0.0):
        options = {} if slope is None else {"negative_slope": slope}
        encoder = ImageEncoder(channels=3, levels=4, size=(9, 6), outputs=2, features=4, **options)
        for part in encoder.convolutions:
            if isinstance(part, nn.Conv2d):
                nn.init.constant_(part.bias, -10.0)
        codes = encoder(x)
        codes.square().sum().backward()
        slopes = [bool(p.grad.any()) for p in encoder.convolutions.parameters()]
        assert all(slopes) if slope is None else not any(slopes)
        assert bool((codes != codes[0]).any()) == (slope is None)


@pytest.mark.parametrize("slope", [-0.1, 1.0, math.nan])
def test_slopes_out_of_range_are_refused(slope: float) -> None:
    size = {"size": (6, 5), "negative_slope": slope}
    for make in (
        lambda: ConvolutionalAutoencoder(levels=4, code_size=3, **size),
        lambda: autoencoder(**size),
        lambda: Embedding(levels=4, outputs=3, **size),
    ):
        with pytest.raises(UsageError, match=r"negative_slope= must be at least 0 and less than"):
            make()


@pytest.mark.parametrize("kind", [PixelCNNAutoencoder, ConvolutionalAutoencoder])
def test_images_of_another_size_are_refused_before_training(kind: type) -> None:
    def of(size: tuple[int, int]) -> Trainable:
        if kind is PixelCNNAutoencoder:
            return autoencoder(size)
        return ConvolutionalAutoencoder(levels=4, size=size, code_size=3)

    whole, cropped = TrainConfig(steps=1), TrainConfig(steps=1, crop=4)
    data = dataset()  # of 6×5
    check_fit(of((6, 5)), data, whole, 1)
    with pytest.raises(
        ValueError,
        match=r"crop=4 does not go .* of 6×5 pixels; leave it out, and give size=6x5",
    ):
        check_fit(of((6, 5)), data, cropped, 1)
    with pytest.raises(ValueError, match="crop=4 does not go"):  # validation is on whole images
        check_fit(of((4, 4)), data, cropped, 1)
    check_fit(of((4, 4)), replace(data, valid=subset(data.valid, np.arange(0))), cropped, 1)
    with pytest.raises(ValueError, match="takes images of 4×4 pixels, but the data has one of 6×5"):
        check_fit(of((4, 4)), data, whole, 1)


def test_precision_is_that_of_the_parameters() -> None:
    for dtype in (torch.float32, torch.float64):
        variational = autoencoder(variational=True).to(dtype)
        x = images(variational, 2, (6, 5))
        assert torch.equal(torch.cat(variational.posterior(x), dim=1), variational.encoder(x))
        convolutional = ConvolutionalAutoencoder(levels=4, size=(6, 5), code_size=3).to(dtype)
        assert convolutional(x).log_prob(x).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert autoencoder(variational=True).posterior(x)[0].dtype == torch.float32


def test_what_has_no_likelihood_is_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(ConvolutionalAutoencoder(levels=4, size=(6, 6), code_size=3), tmp_path / "a.safetensors")
    with pytest.raises(SystemExit) as stop:
        main(["check", str(tmp_path / "a.safetensors")])
    assert stop.value.code == 2 and "has no likelihood" in " ".join(
        "".join(capsys.readouterr()).split()
    )


def test_reconstructions_are_draws_given_the_code() -> None:
    model = build("autoencoder")
    x = images(model, 2, (6, 6))
    drawn = reconstruct(model, x, draws=3, generator=generator())
    codes = model.encode(x).detach().repeat_interleave(3, dim=0)
    assert torch.equal(
        drawn.flatten(0, 1), sample(model, 6, (6, 6), condition=codes, generator=generator())
    )
    with pytest.raises(ValueError, match="draws= must be at least 1, not 0"):
        reconstruct(model, x, draws=0)


def exact_log_likelihood(model: PixelCNNAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """Log ∫ p(x | h) N(h; 0, 1) dh for a code of one number, by the trapezoidal rule."""
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    every = x.repeat(len(grid), 1, 1, 1)
    log_p = score(model, every, grid.repeat_interleave(len(x))[:, None]).view(len(grid), -1)
    return (
        (log_p - 0.5 * grid[:, None] ** 2).logsumexp(dim=0)
        - 0.5 * math.log(2 * math.pi)
        + math.log(18 / 600)
    )


def test_bounds_lie_below_the_integral_and_close_in_on_it() -> None:
    model = autoencoder((2, 2), code=1, variational=True).double().eval()
    with torch.no_grad():
        model.encoder.out.weight.mul_(2)  # a posterior of its own for every image
        for block in model.decoder.blocks:
            block.horizontal_bias.of_vector.weight.normal_(generator=generator())
    x = images(model, 6, (2, 2))
    exact = exact_log_likelihood(model, x)
    elbo = lower_bound(model, x, samples=150, generator=generator())
    tighter = importance_weighted_bound(model, x, samples=400, generator=generator())
    assert (elbo < exact + 0.05).all() and (elbo < tighter + 0.05).all()
    assert (exact - elbo).mean() > 0.05  # else nothing is tested
    torch.testing.assert_close(tighter, exact, rtol=0, atol=0.15)


def test_the_divergence_is_that_of_gaussians() -> None:
    model = build("autoencoder-variational")
    x = images(model, 3, (6, 6))
    mean, log_deviation = model.posterior(x)
    posterior = torch.distributions.Normal(mean, log_deviation.exp())
    expected = torch.distributions.kl_divergence(
        posterior, torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    )
    torch.testing.assert_close(
        divergence(model, x), expected.sum(dim=1).double(), rtol=1e-5, atol=1e-6
    )


def test_log_probabilities_in_evaluation_add_up_to_the_bound() -> None:
    model = build("autoencoder-variational").float()
    x = images(model, 2, (6, 6))
    many = x.repeat(300, 1, 1, 1)
    draws = model(many).log_prob(many).detach().double().sum(dim=(1, 2, 3)).view(300, 2)
    expected = lower_bound(model, many, generator=generator()).view(300, 2)
    torch.testing.assert_close(draws.mean(dim=0), expected.mean(dim=0), rtol=0, atol=0.05)


def test_free_bits_cost_the_same_whatever_the_code_does() -> None:
    model = autoencoder(variational=True, free_bits=3.0).train()
    x = images(model, 4, (6, 5))
    torch.manual_seed(0)
    (-model(x).log_prob(x).sum()).backward()
    code, cost = 2, 3.0 * math.log(2)
    torch.manual_seed(0)
    law = model(x)
    torch.manual_seed(0)
    mean, log_deviation = model.posterior(x)
    plain = model.decoder(x, mean + log_deviation.exp() * torch.randn_like(mean)).log_prob(x)
    torch.testing.assert_close(plain.sum() - law.log_prob(x).sum(), torch.tensor(4 * code * cost))


def test_free_bits_are_of_the_mean_over_the_batch() -> None:
    """Each entry costs its mean divergence or the free bits, whichever is more."""
    model = autoencoder(variational=True).train()
    x = images(model, 6, (6, 5))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(2.0)
        each = gaussian_divergence(*model.posterior(x))
    means = each.mean(dim=0)
    for bits in (0.0, float(means.mean()) / math.log(2), float(each.max()) / math.log(2)):
        model.free_bits = bits
        torch.manual_seed(0)
        bound = model(x).log_prob(x).sum()
        torch.manual_seed(0)
        mean, log_deviation = model.posterior(x)
        code = mean + log_deviation.exp() * torch.randn_like(mean)
        cost = model.decoder(x, code).log_prob(x).sum() - bound
        torch.testing.assert_close(cost, 6 * means.clamp(min=bits * math.log(2)).sum())
    assert (each.min(dim=0).values < means).all()


@torch.no_grad()
def test_the_figure_of_a_convolutional_one_is_its_squared_error_in_levels() -> None:
    for levels in (2, 4, 256):
        model = ConvolutionalAutoencoder(
            levels=levels, size=(6, 5), code_size=3, encoder_features=4
        ).double()
        x = torch.randint(levels, (3, 1, 6, 5))
        values = (model.decode(model.encode(x)) + 1) * (levels - 1) / 2
        bits = float(-model(x).log_prob(x).mean()) / math.log(2)
        assert model.figure.value(bits) == pytest.approx(float((values - x).square().mean()))


def test_evaluation_scores_each_kind_as_what_it_is() -> None:
    data = dataset()
    plain, variational = autoencoder(), autoencoder(variational=True)
    x = torch.from_numpy(data.test.images).long()
    bits = 1 / (x.numel() * math.log(2))
    codes = plain.encode(x).detach()
    assert evaluate(plain, data.test) == pytest.approx(
        -float(score(plain, x, codes).sum()) * bits, rel=1e-6
    )
    elbo = lower_bound(variational, x, generator=generator())
    assert evaluate(variational, data.test) == pytest.approx(-float(elbo.sum()) * bits, rel=1e-6)
    assert evaluate(variational, data.test) == evaluate(variational, data.test)
    assert likelihood_of(plain) is score


def test_the_convolutional_one_minimises_the_squared_error() -> None:
    torch.manual_seed(0)
    data = dataset()
    model = ConvolutionalAutoencoder(levels=4, size=(6, 5), code_size=3, encoder_features=4)
    x = torch.from_numpy(data.train.images).long()

    def error() -> float:
        return ((model.decode(model.encode(x)) - (x * (2 / 3) - 1)) ** 2).mean().item()

    before = error()
    nats = -model(x).log_prob(x).mean().item()
    assert nats == pytest.approx(0.5 * before + 0.5 * math.log(2 * math.pi), rel=1e-5)
    config = TrainConfig(steps=80, batch_size=20, learning_rate=1e-2, precision="float32")
    list(train(initial_state(model, config), data, config))
    assert error() < 0.5 * before
    drawn = model.reconstruct(x)
    assert (
        drawn.shape == x.shape
        and drawn.dtype == torch.int64
        and 0 <= drawn.min() <= drawn.max() <= 3
    )


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 9), (28, 28), (33, 7)])
def test_any_size_is_encoded_and_decoded(size: tuple[int, int]) -> None:
    x = torch.randint(4, (2, 3, *size))
    assert ImageEncoder(channels=3, levels=4, size=size, outputs=7, features=2)(x).shape == (2, 7)
    model = ConvolutionalAutoencoder(
        channels=3, levels=4, size=size, code_size=5, encoder_features=2
    )
    assert model.reconstruct(x).shape == x.shape


def test_they_are_saved_and_loaded(tmp_path: Path) -> None:
    for name, model in {
        "a": build("autoencoder-variational"),
        "b": ConvolutionalAutoencoder(levels=4, size=(6, 6), code_size=3),
    }.items():
        save(model, tmp_path / name)
        loaded = load_trainable(tmp_path / name)
        x = images(model, 2, (6, 6))
        assert torch.equal(loaded.encode(x), model.encode(x))


def test_a_bound_of_several_orders_is_validated_by_their_mean() -> None:
    decoder = GatedPixelCNN(
        levels=4, features=8, layers=2, kernel_size=3, condition=VectorCondition(2), orders=2
    )
    model = PixelCNNAutoencoder(decoder=decoder, size=(4, 4), encoder_features=4, variational=True)
    x = torch.randint(4, (6, 1, 4, 4), generator=generator())
    found = validation_of(model)(model, x, ())
    mean, deviation = model.posterior(x)
    noise = draw_noise(torch.randn, mean.shape, generator()).to(mean)
    code = mean + deviation.exp() * noise
    by_order = order_scores(model, x, code)
    expected = by_order.mean(dim=1) - divergence(model, x)
    torch.testing.assert_close(found, expected)
    assert (likelihood_of(model)(model, x, ()) > found).all()  # the mixture is ahead of the mean
