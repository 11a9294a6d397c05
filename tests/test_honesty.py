"""What a run says of itself: its speed before it starts, and whether its model is of use."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nextpixel import GatedPixelCNN, TrainConfig, VectorCondition, load_data
from nextpixel.cli.app import main
from nextpixel.data.statistics import one_histogram_bits_per_dim
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.settings.choice import ModelChoice
from nextpixel.training import pace, start
from nextpixel.training.start import train_model
from nextpixel.training.verdict import verdict

DIGITS = load_data("digits")
TINY = {"features": 4, "layers": 1, "kernel_size": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("honesty") / "run"
    train_model(
        "digits", ModelChoice(network=TINY), TrainConfig(steps=1), out=folder, conditional=False
    )
    return str(folder)


def test_a_trial_of_the_speed_changes_nothing() -> None:
    model = GatedPixelCNN(levels=17, dropout=0.5, **TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    found = pace.seconds_per_update(model, DIGITS, TrainConfig(minutes=1.0, batch_size=2))
    assert found is not None
    assert found > 0
    assert torch.equal(random, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_processes_do_not_choose_by_their_own_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    model = GatedPixelCNN(levels=17, **TINY)
    assert pace.updates_in_time(model, DIGITS, TrainConfig(minutes=1.0)) is None


@pytest.mark.parametrize(
    ("minutes", "width", "said"), [(100.0, 48, False), (10.0, 24, True), (0.01, 16, True)]
)
def test_the_default_model_fits_the_time(
    minutes: float, width: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update takes a second for every 10 features; only a choice that names no size changes."""
    monkeypatch.setattr(
        pace, "seconds_per_update", lambda model, *_: model.settings.features / 10 - 1
    )
    built: list[ModelChoice] = []

    def build(choice: ModelChoice) -> GatedPixelCNN:
        built.append(choice)
        return GatedPixelCNN(levels=17, **{"features": 48, "layers": 1} | dict(choice.network))

    config = TrainConfig(minutes=minutes)
    model, updates, notes = pace.fitting(build, ModelChoice(), DIGITS, config, torch.device("cpu"))
    assert isinstance(model, GatedPixelCNN)
    assert (model.settings.features, bool(notes)) == (width, said)
    assert updates == max(1, round(60 * minutes / (width / 10 - 1)))
    assert len(built) == 1 + (48, 32, 24, 16).index(width)


@pytest.mark.parametrize(
    ("bits", "updates", "images", "words", "usable"),
    [
        (2.0, 1000, 179, (), True),
        (4.05, 1000, 179, ("more than the 3.0",), False),
        (2.0, 40, 179, ("only 40 updates;",), False),
        (2.0, 1000, 5, ("the test split has only 5 images",), True),
    ],
)
def test_a_run_is_judged(
    bits: float, updates: int, images: int, words: tuple[str, ...], usable: bool
) -> None:
    model = GatedPixelCNN(levels=17, **TINY)
    data = replace(DIGITS, test=replace(DIGITS.test, images=DIGITS.test.images[:images]))
    said, found = verdict(model, data, "test", bits, updates)
    assert found == usable
    assert len(said) == len(words)
    for word, sentence in zip(words, said, strict=True):
        assert word in sentence


@pytest.mark.parametrize("kind", [PixelCNNAutoencoder, ConvolutionalAutoencoder])
def test_a_dead_encoder_is_named(kind: type) -> None:
    """Its last convolution lets nothing through: every image has the code of the bias."""
    size = {"size": (8, 8), "encoder_features": 4, "negative_slope": 0.0}
    if kind is PixelCNNAutoencoder:
        decoder = GatedPixelCNN(levels=17, **TINY, condition=VectorCondition(3))
        model = PixelCNNAutoencoder(decoder=decoder, **size)
    else:
        model = ConvolutionalAutoencoder(channels=1, levels=17, code_size=3, **size)
    assert verdict(model, DIGITS, None, None, 1000) == ((), True)
    torch.nn.init.constant_(model.encoder.convolutions[-2].bias, -1e4)
    (said,), usable = verdict(model, DIGITS, None, None, 1000)
    assert "the same code" in said and not usable


def test_one_histogram_is_the_entropy_of_its_own_values() -> None:
    values = np.concatenate([np.asarray(DIGITS.train.images).ravel()])
    shares = np.bincount(values, minlength=17) / values.size
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    found = one_histogram_bits_per_dim(DIGITS.train, DIGITS.train, 17)
    assert found == pytest.approx(entropy, abs=1e-4)


def test_a_long_evaluation_is_announced_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "seconds_per_image", lambda *_: 10.0)
    out = str(tmp_path / "run")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    main(["train", "digits", "--steps", "1", "--out", out, *options])
    shown = capsys.readouterr().out
    assert "evaluates 6 images of 179, as all would take too long: about 60 seconds" in shown
    assert f"on 6 of 179 images; on all: nextpixel evaluate {out}" in shown
    assert "caution   the run had only 1 update; train longer with --resume and --minutes" in shown
    assert f"next      nextpixel train --resume {out} --minutes" in shown
    assert "nextpixel sample" not in shown


def test_evaluation_of_other_data_compares_with_their_histogram(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextpixel.inference.evaluation.seconds_per_image", lambda *_: 3.0)
    other = tmp_path / "other.npy"
    np.save(other, np.tile(np.array([0, 0, 0, 16], np.uint8), (5, 8, 2)))
    capsys.readouterr()
    main(["evaluate", run, "--data", str(other)])
    shown = capsys.readouterr()
    row = next(line for line in shown.out.splitlines() if "one histogram of these values" in line)
    assert float(row.split()[-2].strip("│")) == pytest.approx(0.877, abs=0.001)
    assert "Evaluating: 5 images, 320 sub-pixels, about 15 seconds" in shown.err


def test_drawing_says_how_much_work_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from nextpixel.cli import work

    working, progress = work.announced_bar("Drawing")
    working(154_368)
    clock = itertools.count(0.0, 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.time, "monotonic", lambda: next(clock))
        assert list(progress(range(750), 750)) == list(range(750))
    assert "Drawing: 154,368 sub-pixels, about 2.5 minutes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "function", "sentence"),
    [
        ("sample", "nextpixel.sampling.sample", "--batch-size 2"),
        ("complete", "nextpixel.inference.completion.completed", "--batch-size 8"),
        ("evaluate", "nextpixel.inference.evaluation.log_probabilities", "use another --device"),
    ],
)
def test_out_of_memory_is_a_sentence_for_the_command(
    run: str,
    command: str,
    function: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(function, full)
    out = [] if command == "evaluate" else ["--out", str(tmp_path / "x.npy"), "--n", "8"]
    with pytest.raises(SystemExit) as stop:
        main([command, run, *out])
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err
