"""The models that come with nextpixel: small, complete cards, and they draw and score."""

import math

import pytest
import torch

from nextpixel import load, sample, score
from nextpixel.checkpoint import pretrained, read_card
from nextpixel.cli.app import main
from nextpixel.conditions.values import random_values


def test_there_are_some() -> None:
    assert pretrained()


@pytest.mark.parametrize("name", pretrained())
def test_a_pretrained_model_draws_and_scores(name: str) -> None:
    model, metadata = load(name), read_card(name).to_json()
    assert pretrained()[name].stat().st_size <= 5_000_000
    height, width = (min(side, 32) for side in metadata["shape"])
    generator = torch.Generator().manual_seed(0)
    condition = random_values(model.conditions, 4, (height, width), generator)
    x = sample(model, 4, (height, width), condition=condition, generator=generator)
    bits = -score(model, x, condition).sum() / (x.numel() * math.log(2))
    # Its own draws are about as likely as test images; noise is not.
    assert float(bits) == pytest.approx(metadata["test"]["bits_per_dim"], rel=0.6)
    noise = torch.randint(model.levels, x.shape, generator=generator)
    assert float(-score(model, noise, condition).sum()) > 1.5 * float(
        -score(model, x, condition).sum()
    )


@pytest.mark.parametrize("name", pretrained())
def test_a_card_says_what_one_must_know(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    metadata = read_card(name).to_json()
    assert metadata["about"] and metadata["data_terms"] and metadata["training"]["config"]
    # Two photographs have as many pixels as a thousand digits.
    assert metadata["test"]["split"] in ("test", "all")
    assert metadata["test"]["images"] > 100 or name == "photographs"
    places = [value for value in metadata["source"].values() if value is not None]
    assert places and not any("/" in place for place in places)
    main(["info", name])
    assert metadata["about"].split()[0] in capsys.readouterr().out
