"""Standard errors, and two models on the same images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nextpixel import load, score
from nextpixel.analysis.uncertainty import standard_error
from nextpixel.cli.app import main
from nextpixel.errors import UsageError
from nextpixel.inference.comparison import compare_models
from nextpixel.inference.evaluation import Evaluation, evaluate_model
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.training import TrainConfig
from nextpixel.training.start import train_model


def test_the_error_of_clusters_is_that_of_their_means() -> None:
    """Equal clusters: the error of the mean of G independent means; copies add nothing."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=50)
    values = np.repeat(means, 7)
    alone = standard_error(means)
    assert alone == pytest.approx(means.std(ddof=1) / 50**0.5)
    assert standard_error(values, np.repeat(np.arange(50), 7)) == pytest.approx(alone)
    assert standard_error(values) < alone / 2
    assert np.isnan(standard_error(values, np.zeros(350, dtype=int)))


def test_a_difference_is_of_the_same_images(tmp_path: object) -> None:
    generator = np.random.default_rng(0)
    path = f"{tmp_path}/x.npy"
    np.save(path, generator.integers(2, size=(6, 28, 28), dtype=np.uint8))
    with open(f"{tmp_path}/x.csv", "w", encoding="utf-8") as table:
        table.write("file,patient\n" + "".join(f"{i},p{i // 2}\n" for i in range(6)))
    request = DataRequest(data=path, labels=f"{tmp_path}/x.csv")
    found = compare_models("mnist-gated-pixel-cnn", "mnist-pixel-cnn", request, cluster="patient")
    assert (found.images, found.clusters) == (6, 3)
    assert found.difference == pytest.approx(found.nats_per_image - found.other_nats_per_image)
    itself = compare_models("mnist-pixel-cnn", "mnist-pixel-cnn", DataRequest(data=path))
    assert (itself.difference, itself.standard_error, itself.clusters) == (0, 0, 6)
    assert itself.nats_per_image == pytest.approx(found.other_nats_per_image)
    with pytest.raises(UsageError, match="one is unconditional, the other given the class"):
        compare_models("mnist", "fashion-mnist", DataRequest(data=path))
    with pytest.raises(UsageError, match="has no column 'nobody'"):
        compare_models("mnist-pixel-cnn", "mnist-pixel-cnn", request, cluster="nobody")


def test_runs_on_one_source_are_compared_on_its_test_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "x.npy"
    np.save(images, np.random.default_rng(0).integers(4, size=(40, 4, 5), dtype=np.uint8))
    once, small = TrainConfig(steps=1, batch_size=4), {"features": 4, "layers": 1, "kernel_size": 3}
    for orders in (1, 2):
        choice = ModelChoice(network={**small, "orders": orders})
        train_model(images, choice, once, out=tmp_path / str(orders))
    first, second = (str(tmp_path / orders) for orders in "12")
    found, alone = compare_models(first, second), evaluate_model(second)
    assert isinstance(alone, Evaluation)
    assert (found.split, found.images) == ("test", alone.images)
    assert found.other_nats_per_image == pytest.approx(alone.nats_per_image)
    for option in (["--order", "top-left"], ["--importance-samples", "2"]):
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", second, "--against", first, *option])
        assert f"{' '.join(option)} is of the evaluation of one model" in capsys.readouterr().err


def test_a_likelihood_has_the_error_of_its_images(tmp_path: object) -> None:
    x = np.random.default_rng(0).integers(2, size=(3, 28, 28), dtype=np.uint8)
    twice = f"{tmp_path}/x.npy"
    np.save(twice, np.repeat(x, 2, axis=0))
    with open(f"{tmp_path}/x.csv", "w", encoding="utf-8") as table:
        table.write("file,patient\n" + "".join(f"{i},p{i // 2}\n" for i in range(6)))
    request = DataRequest(data=twice, labels=f"{tmp_path}/x.csv")
    nats = -score(load("mnist-pixel-cnn"), torch.from_numpy(x[:, None]).long()).double().numpy()
    found = evaluate_model("mnist-pixel-cnn", request, cluster="patient")
    plain = evaluate_model("mnist-pixel-cnn", DataRequest(data=twice))
    assert isinstance(found, Evaluation) and isinstance(plain, Evaluation)
    assert (found.clusters, plain.clusters) == (3, None)
    assert found.nats_per_image == pytest.approx(nats.mean(), rel=1e-5)
    assert found.standard_error == pytest.approx(nats.std(ddof=1) / 3**0.5, rel=1e-3)
    assert plain.standard_error == pytest.approx(standard_error(np.repeat(nats, 2)), rel=1e-3)
    np.save(f"{tmp_path}/one.npy", x[:1])
    one = evaluate_model("mnist-pixel-cnn", DataRequest(data=f"{tmp_path}/one.npy"))
    assert isinstance(one, Evaluation) and one.standard_error is None
    assert "standard_error" not in one.to_json()
