import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import dataset, network, split, weights

from nextpixel import ClassCondition, Preparation, Source, load, load_data
from nextpixel.checkpoint import CheckpointError, Training, read_card
from nextpixel.data.digest import DataDigest
from nextpixel.data.splits import Split
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder
from nextpixel.settings.records import KEYS_OF_0_1
from nextpixel.training import board
from nextpixel.training.evaluation import evaluate
from nextpixel.training.loop import TrainConfig, TrainingError, initial_state
from nextpixel.training.metrics import read_metrics
from nextpixel.training.record import read_run, write_run
from nextpixel.training.runs import reopen, run
from nextpixel.training.state import load_state, save_state

CONFIG = TrainConfig(steps=12, batch_size=8, evaluate_every=4, learning_rate=0.01)


def test_folder_holds_what_was_asked_and_what_came_out(tmp_path: Path) -> None:
    folder, data = tmp_path / "runs" / "one", dataset(classes=2)
    steps = list(run(folder, network(condition=ClassCondition(2)), data, CONFIG, log_every=5))
    assert [step.step for step in steps] == list(range(1, 13))
    assert {file.name for file in folder.iterdir()} == {
        "run.json",
        "metrics.jsonl",
        "state.safetensors",
        "best.safetensors",
    }
    asked = read_run(folder)
    assert asked["source"] == Source("ramps").to_json() and asked["classes"] == ["a", "b"]
    assert asked["model"]["class"] == "GatedPixelCNN" and asked["model"]["config"]["condition"] == {
        "classes": 2
    }
    assert TrainConfig(**asked["training"]) == CONFIG

    lines = read_metrics(folder)
    assert [line["step"] for line in lines if "train_bits_per_dim" in line] == [1, 4, 5, 8, 10, 12]
    validations = {
        line["step"]: line["valid_bits_per_dim"] for line in lines if "valid_bits_per_dim" in line
    }
    assert validations == {
        step.step: step.valid_bits_per_dim for step in steps if step.valid_bits_per_dim is not None
    }
    assert all(line["images_per_second"] > 0 for line in lines if "train_bits_per_dim" in line)

    best = load(folder)
    assert evaluate(best, data.valid) == pytest.approx(min(validations.values()), abs=1e-6)
    card = read_card(folder)
    assert isinstance(card.training, Training)
    assert card.training.valid_bits_per_dim == min(validations.values())
    assert (card.source, card.preparation) == (Source("ramps"), Preparation())
    assert card.classes == ("a", "b")


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    list(run(tmp_path, network(), dataset(), CONFIG))
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(ValueError, match="holds a run already; resume it, or choose another"):
        next(run(tmp_path, network(), dataset(), CONFIG))
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_resume_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        next(run(tmp_path / "none", network(), dataset(), CONFIG, resume=True))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda: (network(layers=3), dataset(), CONFIG),
            "model config.layers=2, but is resumed with 3",
        ),
        (
            lambda: (network(), dataset(), replace(CONFIG, batch_size=9)),
            "training batch_size=8, but is resumed with 9",
        ),
        (
            lambda: (
                network(),
                replace(
                    dataset(), source=Source("elsewhere"), preparation=Preparation(split_seed=1)
                ),
                CONFIG,
            ),
            "preparation split_seed=0, but is resumed with 1",
        ),
    ],
    ids=["model", "training", "data"],
)
def test_resuming_another_run_is_refused(
    tmp_path: Path, change: Callable[[], Any], message: str
) -> None:
    next(run(tmp_path, network(), dataset(), CONFIG))
    with pytest.raises(ValueError, match=message):
        next(run(tmp_path, *change(), resume=True))


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    list(run(tmp_path, network(), dataset(), CONFIG))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="truncated"):
        next(run(tmp_path, network(), dataset(), CONFIG, resume=True))
    with pytest.raises(CheckpointError, match="is not the state of a training with Muon"):
        load_state(initial_state(network(), CONFIG), tmp_path / "best.safetensors")


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path: Path) -> None:
    list(run(tmp_path, network(), dataset(), CONFIG))
    assert list(run(tmp_path, network(), dataset(), CONFIG, resume=True)) == []
    longer = replace(CONFIG, steps=None, epochs=3)
    assert [step.step for step in run(tmp_path, network(), dataset(), longer, resume=True)] == [
        13,
        14,
        15,
    ]
    assert read_run(tmp_path)["training"]["epochs"] == 3


def test_leaving_the_loop_saves_the_state(tmp_path: Path) -> None:
    model = network()
    for step in run(tmp_path, model, dataset(), CONFIG):
        if step.step == 6:
            break
    state = initial_state(network(seed=1), CONFIG)
    load_state(state, tmp_path / "state.safetensors")
    assert state.step == 6
    assert torch.equal(weights(state.model), weights(model))


def test_minutes_count_on_where_the_run_stopped(tmp_path: Path) -> None:
    config = TrainConfig(minutes=1 / 60, batch_size=8)
    for step in run(tmp_path, network(), dataset(), config):
        if step.seconds > 0.5:
            break
    resumed = list(run(tmp_path, network(), dataset(), config, resume=True))
    assert step.seconds < resumed[0].seconds < 1.0 < resumed[-1].seconds
    assert resumed[-1].progress == 1


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "rmsprop"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_state_comes_back_whole(tmp_path: Path, optimizer: Any, channels_last: bool) -> None:
    config = replace(CONFIG, optimizer=optimizer, channels_last=channels_last)
    first, second = (initial_state(network(seed=seed), config) for seed in (0, 1))
    list(run(tmp_path / "run", first.model, dataset(), config))
    load_state(second, tmp_path / "run" / "state.safetensors")
    save_state(second, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (
        tmp_path / "run" / "state.safetensors"
    ).read_bytes()
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert a.stride() == b.stride()
        assert all(
            t.stride() == b.stride()
            for t in second.optimizer.state[b].values()
            if t.shape == b.shape
        )


def test_a_failing_loss_leaves_the_last_good_files(tmp_path: Path) -> None:
    model = network()
    steps = run(tmp_path, model, dataset(), CONFIG, save_seconds=0.0)
    for _ in range(7):
        next(steps)
    good = {
        name: (tmp_path / name).read_bytes() for name in ("state.safetensors", "best.safetensors")
    }
    with torch.no_grad():
        model.head_out.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 8"):
        next(steps)
    assert good == {name: (tmp_path / name).read_bytes() for name in good}
    resumed = list(run(tmp_path, network(), dataset(), CONFIG, resume=True))
    assert [step.step for step in resumed] == [8, 9, 10, 11, 12]
    assert all(np.isfinite(step.bits_per_dim) for step in resumed)


def test_without_validation_the_last_weights_are_the_best(tmp_path: Path) -> None:
    list(run(tmp_path, network(), replace(dataset(), valid=split(0)), CONFIG))
    training = read_card(tmp_path).training
    assert isinstance(training, Training)
    assert training.step == 12 and training.valid_bits_per_dim is None


def test_reopen_makes_everything_again_from_the_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", split(40).images)
    data = load_data(tmp_path / "images.npy", Preparation(levels=4, split_seed=3))
    next(run(tmp_path / "run", network(), data, CONFIG))
    model, again, config = reopen(tmp_path / "run")
    assert model.config() == network().config() and config == CONFIG
    assert np.array_equal(again.test.images, data.test.images)
    assert len(list(run(tmp_path / "run", model, again, config, resume=True))) == 11


def test_a_run_of_version_0_1_goes_on(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", split(40).images)
    data = load_data(
        tmp_path / "images.npy", Preparation(levels=4, split_seed=3, split_by="index", reading=1)
    )
    next(run(tmp_path / "run", network(), data, CONFIG))
    asked = read_run(tmp_path / "run")
    kept = asked.pop("preparation")
    kept["seed"] = kept.pop("split_seed")
    for name in kept.keys() - KEYS_OF_0_1 - {"ignore_labels"}:
        del kept[name]
    del asked["digest"], asked["notes"]
    kept["labels"] = not kept.pop("ignore_labels")
    kept |= dict.fromkeys(("vectors", "captions", "embedding", "maps"))
    kept["source"] = asked["source"] = str(tmp_path / "images.npy")
    (tmp_path / "run" / "run.json").write_text(json.dumps(asked | {"data": kept}))
    with pytest.raises(UsageError, match="images.npy.*give the place yourself"):
        reopen(tmp_path / "run")
    model, again, config = reopen(tmp_path / "run", source=str(tmp_path / "images.npy"))
    assert (again.source, again.preparation) == (data.source, data.preparation)
    assert len(list(run(tmp_path / "run", model, again, config, resume=True))) == 11


def test_a_damaged_line_of_the_metrics_is_said_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in run(tmp_path, network(), dataset(), CONFIG, log_every=1):
        if step.step == 6:
            break
    path = tmp_path / "metrics.jsonl"
    before = read_metrics(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    damaged = [b"\xff{\n", b"[]\n", b'{"seconds": 1}\n', b'{"step": "1", "seconds": 1}\n']
    damaged += [b'{"step": 1, "seconds": NaN}\n', b"[" * 9999 + b"\n"]
    path.write_bytes("".join(lines[:2]).encode() + b"".join(damaged) + "".join(lines[2:]).encode())
    assert read_metrics(tmp_path) == before and len(caplog.records) == len(damaged)
    assert f"line 3 of {path}" in caplog.messages[0]
    assert len(list(run(tmp_path, network(), dataset(), CONFIG, resume=True))) == 6
    assert read_metrics(tmp_path)[: len(before)] == before


def test_metrics_of_a_line_that_was_being_written_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 0.1}\n{"step": 2, "sec')
    assert read_metrics(tmp_path) == [{"step": 1, "seconds": 0.1}]
    assert read_metrics(tmp_path / "absent") == []


def test_tensorboard_gets_scalars_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    sizes: list[tuple[int, int]] = []
    drawn = board.sample

    def noted(model: Any, n: int, shape: tuple[int, int], **options: Any) -> torch.Tensor:
        sizes.append(shape)
        return drawn(model, n, shape, **options)

    monkeypatch.setattr(board, "sample", noted)
    list(run(tmp_path, network(), dataset(), replace(CONFIG, steps=4), tensorboard=True))
    cropped = replace(CONFIG, steps=4, crop=4)  # what is trained on is what is shown
    list(run(tmp_path / "cropped", network(), dataset(), cropped, tensorboard=True))
    assert sizes == [(6, 5), (4, 4)]
    (events,) = (tmp_path / "tensorboard").iterdir()
    data = events.read_bytes()
    assert all(
        name in data
        for name in (b"train_bits_per_dim", b"valid_bits_per_dim", b"samples", b"\x89PNG")
    )


def test_tensorboard_that_is_missing_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"install nextpixel\[tensorboard\]"):
        next(run(tmp_path / "run", network(), dataset(), CONFIG, tensorboard=True))
    assert not (tmp_path / "run").exists()


def test_files_are_plain(tmp_path: Path) -> None:
    """JSON, JSON lines and safetensors: nothing that a reader would have to execute."""
    list(run(tmp_path, network(), dataset(), CONFIG))
    json.loads((tmp_path / "run.json").read_text())
    for name in ("state.safetensors", "best.safetensors"):
        head = (tmp_path / name).read_bytes()
        json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])


def test_patience_counts_on_where_the_run_stopped(tmp_path: Path) -> None:
    """Trained on white, validated on black: soon every validation is worse than the first."""
    white, black = (Split(images=np.full((4, 1, 6, 5), value, np.uint8)) for value in (3, 0))
    data = replace(dataset(), train=white, valid=black)
    config = TrainConfig(steps=100, batch_size=4, learning_rate=0.01, evaluate_every=2, patience=3)
    whole = [step.step for step in run(tmp_path / "whole", network(), data, config)]
    for step in run(tmp_path / "parts", network(), data, config):
        if step.step == whole[-1] - 1:
            break
    resumed = [step.step for step in run(tmp_path / "parts", network(), data, config, resume=True)]
    assert resumed == [whole[-1]] != [100]


def test_other_data_are_refused_unless_told(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 4, (40, 1, 6, 6), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    data = load_data(tmp_path / "images.npy", Preparation(levels=4))
    next(run(tmp_path / "run", network(), data, CONFIG))
    np.save(tmp_path / "images.npy", np.concatenate([images[1:], images[:1] ^ 1]))
    model, again, config = reopen(tmp_path / "run")
    with pytest.raises(UsageError, match="1 of 40 pictures is new, 1 is missing; give the same"):
        next(run(tmp_path / "run", model, again, config, resume=True))
    next(run(tmp_path / "run", model, again, config, resume=True, other_data=True))
    digest = DataDigest.from_json(read_run(tmp_path / "run")["digest"])
    before = DataDigest.of(data)
    assert before is not None and set(before.kept["train"]) <= set(digest.kept["train"])


def test_a_batch_may_be_divided_further_on_resume(tmp_path: Path) -> None:
    next(run(tmp_path, network(), dataset(), CONFIG))
    more = replace(CONFIG, accumulate=2)
    assert len(list(run(tmp_path, network(), dataset(), more, resume=True))) == 11
    assert read_run(tmp_path)["changes"] == [{"step": 1, "accumulate": [1, 2]}]


def test_other_data_begin_with_a_first_validation_of_their_own(tmp_path: Path) -> None:
    """The best of easy images is no standard for harder ones: they, too, give weights to keep."""
    generator = np.random.default_rng(0)
    easy = (generator.random((40, 1, 6, 6)) < 0.1).astype(np.uint8)
    np.save(tmp_path / "images.npy", easy)
    data = load_data(tmp_path / "images.npy", Preparation(levels=4))
    list(run(tmp_path / "run", network(), data, CONFIG))
    before = read_card(tmp_path / "run").training
    hard = generator.integers(0, 4, easy.shape, dtype=np.uint8)
    np.save(tmp_path / "images.npy", hard)
    model, again, config = reopen(tmp_path / "run")
    longer = replace(config, steps=16)
    steps = list(run(tmp_path / "run", model, again, longer, resume=True, other_data=True))
    after = read_card(tmp_path / "run").training
    assert isinstance(before, Training) and isinstance(after, Training)
    assert after.step == 16 and steps[-1].valid_bits_per_dim == after.valid_bits_per_dim
    assert before.valid_bits_per_dim is not None and after.valid_bits_per_dim is not None
    assert before.valid_bits_per_dim < after.valid_bits_per_dim


def test_copies_among_the_images_are_no_new_data_after_other_data(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 4, (40, 1, 6, 6), dtype=np.uint8)
    images[1:5] = images[0]
    np.save(tmp_path / "images.npy", images)
    data = load_data(tmp_path / "images.npy", Preparation(levels=4))
    next(run(tmp_path / "run", network(), data, CONFIG))
    more = np.concatenate([images, images[-1:] ^ 1])
    np.save(tmp_path / "images.npy", more)
    model, again, config = reopen(tmp_path / "run")
    next(run(tmp_path / "run", model, again, config, resume=True, other_data=True))
    model, again, config = reopen(tmp_path / "run")
    next(run(tmp_path / "run", model, again, config, resume=True))


def test_an_encoder_of_an_earlier_version_is_resumed_as_it_was(tmp_path: Path) -> None:
    """Its configuration says nothing of a slope, which means plain ReLUs."""

    def made(slope: float) -> ConvolutionalAutoencoder:
        sizes = {"levels": 4, "size": (6, 5), "code_size": 2, "encoder_features": 4}
        return ConvolutionalAutoencoder(**sizes, negative_slope=slope)

    next(run(tmp_path, made(0.0), dataset(), CONFIG))
    asked = read_run(tmp_path)
    del asked["model"]["config"]["negative_slope"]
    write_run(tmp_path, asked)
    with pytest.raises(ValueError, match=r"config.negative_slope=0.0, but is resumed with 0.1"):
        next(run(tmp_path, made(0.1), dataset(), CONFIG, resume=True))
    next(run(tmp_path, made(0.0), dataset(), CONFIG, resume=True))
