"""Images of a batch know nothing of each other, and each keeps what belongs to it."""

from collections.abc import Iterable, Iterator

import pytest
import torch
from borders import Given, decisive, rows_of
from cases import build, conditions, images

from nextpixel import GatedPixelCNN, VectorCondition, complete, sample
from nextpixel.autoencoding import reconstruct
from nextpixel.cache import Site
from nextpixel.inference.interpolation import interpolate
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.scoring import log_prob_map
from nextpixel.walk import walk

SHAPE = (3, 3)
# What is one value, and what are several: models matter here only as far as they are conditioned.
CONDITIONED = ["gated-classes", "gated-all-conditions"]
every_condition = pytest.mark.parametrize("name", CONDITIONED)


def likeliest(model: ImageModel, n: int, values: Given, **options: float) -> torch.Tensor:
    """What the conditions alone decide: no noise."""
    return sample(model, n, SHAPE, condition=values, temperature=0.0, **options)  # type: ignore[arg-type]


@every_condition
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_each_image_is_drawn_by_its_own_condition(name: str, guidance: float) -> None:
    model, values = decisive(name, 5, SHAPE)
    together = likeliest(model, 5, values, batch_size=2, guidance=guidance)
    for i in range(5):
        own = rows_of(values, slice(i, i + 1))
        assert torch.equal(together[i : i + 1], likeliest(model, 1, own, guidance=guidance)), i
    assert len(together.flatten(1).unique(dim=0)) > 1, "conditions must matter"


@every_condition
def test_noise_belongs_to_the_image_whatever_the_batch(name: str) -> None:
    model, values = decisive(name, 5, SHAPE)
    draw = lambda n, **more: sample(  # noqa: E731
        model,
        n,
        SHAPE,
        condition=rows_of(values, slice(0, n)),
        generator=torch.Generator().manual_seed(1),
        **more,
    )
    whole = draw(5)
    assert torch.equal(draw(5, batch_size=2), whole)
    assert torch.equal(draw(3), whole[:3])
    assert torch.equal(draw(5, common_noise=True, batch_size=2), draw(5, common_noise=True))


@every_condition
def test_each_image_is_completed_from_its_own_pixels_and_condition(name: str) -> None:
    model, values = decisive(name, 5, SHAPE)
    values = rows_of(values, slice(0, 3))
    x = images(model, 3, SHAPE)
    known = torch.zeros(3, 1, *SHAPE, dtype=torch.bool)
    for i in range(3):
        known[i, :, : i + 1, : i + 2] = True
    together = complete(model, x, known, draws=2, condition=values, temperature=0.0, batch_size=2)
    for i in range(3):
        part = slice(i, i + 1)
        alone = complete(
            model, x[part], known[part], condition=rows_of(values, part), temperature=0.0
        )
        assert torch.equal(together[i], alone[0].expand_as(together[i])), i
    assert len(together.flatten(2).flatten(0, 1).unique(dim=0)) > 1


@every_condition
def test_draws_of_one_picture_differ_and_do_not_depend_on_the_batch(name: str) -> None:
    model, values = decisive(name, 5, SHAPE)
    values = rows_of(values, slice(0, 3))
    x, known = images(model, 3, SHAPE), torch.zeros(SHAPE, dtype=torch.bool)
    draw = lambda size: complete(  # noqa: E731
        model,
        x,
        known,
        draws=4,
        condition=values,
        generator=torch.Generator().manual_seed(2),
        temperature=3.0,
        batch_size=size,
    )
    whole = draw(256)
    assert torch.equal(draw(5), whole) and torch.equal(draw(1), whole)
    assert all(len(of_one.flatten(1).unique(dim=0)) > 1 for of_one in whole)


@every_condition
@torch.no_grad()
def test_a_walk_and_a_map_of_each_image_are_its_own(name: str) -> None:
    model, values = decisive(name, 5, SHAPE)
    values = rows_of(values, slice(0, 3))
    x = images(model, 3, SHAPE)
    maps = log_prob_map(model, x, values)
    for i in range(3):
        part = slice(i, i + 1)
        own = rows_of(values, part)
        torch.testing.assert_close(log_prob_map(model, x[part], own), maps[part])
        for site, log_pmf in walk(model, x[part], own):
            here = log_pmf.gather(1, x[part][:, None, *site])[0, 0]
            torch.testing.assert_close(here.double(), maps[i, *site])


@pytest.mark.parametrize("draws", [1, 3])
def test_each_reconstruction_is_of_its_own_picture(draws: int) -> None:
    torch.manual_seed(0)
    decoder = GatedPixelCNN(
        levels=4, features=8, layers=2, kernel_size=3, condition=VectorCondition(3)
    )
    model = PixelCNNAutoencoder(decoder=decoder, size=(4, 5), encoder_features=4).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "of_vector" in name or "encoder.out" in name:
                parameter.normal_(std=2.0)
    x = images(model, 4, (4, 5))
    together = reconstruct(model, x, draws=draws, temperature=0.0)
    for i in range(4):
        alone = reconstruct(model, x[i : i + 1], temperature=0.0)
        assert torch.equal(together[i], alone[0].expand_as(together[i]))
    assert len(together.flatten(2).flatten(0, 1).unique(dim=0)) > 1


def test_the_steps_of_an_interpolation_are_drawn_by_their_own_vectors() -> None:
    model, values = decisive("gated-all-conditions", 5, SHAPE)
    first, last = rows_of(values, 0), rows_of(values, 1)
    row = interpolate(model, first, last, SHAPE, steps=5, temperature=0.0)
    shares = torch.linspace(0, 1, 5, dtype=torch.float64)
    vector = next(
        k for k, value in enumerate(values) if value.is_floating_point() and value.ndim == 2
    )
    for step, share in zip(row, shares, strict=True):
        own = [value[:1] for value in values]
        line = (1 - share) * values[vector][:1] + share * values[vector][1:2]
        own[vector] = line.to(values[vector].dtype)
        assert torch.equal(step[None], likeliest(model, 1, tuple(own)))
    assert len(row.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("name", ["gated-rgb", "multi-scale", "gated-logistic"])
@pytest.mark.parametrize("batch_size", [2, 3, 5, 9])
def test_progress_counts_what_it_says(name: str, batch_size: int) -> None:
    """As many sites as announced, of all batches, when all is drawn and when some rows are."""
    model = build(name)
    x, values = images(model, 5, SHAPE), conditions(model, 5, SHAPE)
    announced: list[int] = []
    counted: list[int] = []

    def progress(sites: Iterable[Site], length: int) -> Iterator[Site]:
        announced.append(length)
        counted.append(0)
        for site in sites:
            counted[-1] += 1
            yield site

    shared = {"condition": values, "batch_size": batch_size, "progress": progress}
    sample(model, 5, SHAPE, **shared)  # type: ignore[arg-type]
    known = torch.tensor([True, False, False])[:, None].expand(SHAPE)
    complete(model, x, known, particles=1, **shared)  # type: ignore[arg-type]
    assert announced == counted and counted[0] > counted[1] > 0
