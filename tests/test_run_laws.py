"""What a run leaves behind: every figure again, every change, and a state as fresh as was asked."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import dataset, network

from nextpixel.errors import UsageError
from nextpixel.files.tensors import read_header
from nextpixel.models.trainable import Trainable
from nextpixel.training import loop, memory
from nextpixel.training.loop import Step, TrainConfig, initial_state, train
from nextpixel.training.metrics import lines_of, read_metrics
from nextpixel.training.plan import TrainPlan, follow_plan
from nextpixel.training.record import read_run
from nextpixel.training.runs import run
from nextpixel.training.state import STATE

CONFIG = TrainConfig(steps=6, batch_size=8, evaluate_every=3, learning_rate=0.01)


def saved_step(folder: Path) -> int:
    state: dict[str, Any] = read_header(folder / STATE).metadata["state"]
    return int(state["step"])


@pytest.mark.parametrize(
    ("save_seconds", "saved"), [(0.0, [1, 2, 3, 4, 5, 6]), (1e9, [0, 0, 3, 3, 3, 6])]
)
def test_the_state_is_saved_as_often_as_asked(
    save_seconds: float, saved: list[int], tmp_path: Path
) -> None:
    """A run that is killed loses no more than that, and validations are never lost."""
    steps = run(tmp_path, network(), dataset(), CONFIG, save_seconds=save_seconds)
    assert [saved_step(tmp_path) for _ in steps] == saved


def test_every_change_is_kept_whatever_follows(tmp_path: Path) -> None:
    list(run(tmp_path, network(), dataset(), CONFIG))
    wanted = []
    for steps, rate in ((8, 0.02), (10, 0.03), (12, 0.03)):
        before = TrainConfig(**read_run(tmp_path)["training"])
        config = replace(CONFIG, steps=steps, learning_rate=rate)
        list(run(tmp_path, network(), dataset(), config, resume=True))
        change: dict[str, Any] = {"step": before.steps, "steps": [before.steps, steps]}
        if before.learning_rate != rate:
            change["learning_rate"] = [before.learning_rate, rate]
        wanted.append(change)
        assert read_run(tmp_path)["changes"] == wanted


def test_figures_of_the_metrics_are_those_of_the_steps(tmp_path: Path) -> None:
    steps = list(run(tmp_path, network(), dataset(), CONFIG, log_every=2))
    lines = [line for line in read_metrics(tmp_path) if "images_per_second" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 6]
    for line in lines:
        step = steps[line["step"] - 1]
        assert line["train_bits_per_dim"] == step.bits_per_dim
        assert (line["learning_rate"], line["gradient_norm"]) == (
            step.learning_rate,
            step.gradient_norm,
        )
    logged = [(0, 0.0), *((line["step"], steps[line["step"] - 1].seconds) for line in lines)]
    for (line, (first, begun)), (last, ended) in zip(
        zip(lines, logged, strict=False), logged[1:], strict=True
    ):
        speed = (last - first) * CONFIG.batch_size / (ended - begun)
        assert line["images_per_second"] == pytest.approx(speed, abs=0.01)
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(lines))


def test_seconds_between_two_lines_are_those_of_the_images_between_them() -> None:
    step = Step(
        step=12, progress=0.5, bits_per_dim=1.0, learning_rate=0.1, gradient_norm=1.0, seconds=5.0
    )
    (line,) = lines_of(step, (4, 1.0), 6)
    assert line["images_per_second"] == 8 * 6 / 4


def test_the_best_validation_of_a_call_is_its_lowest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its first nor its last; nothing that an earlier call found counts."""
    found = iter([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    monkeypatch.setattr(loop, "evaluate", lambda *_, **__: next(found))
    config = replace(CONFIG, steps=3, evaluate_every=1)
    plan = TrainPlan(folder=tmp_path / "run", model=network(), data=dataset(), config=config)
    assert follow_plan(plan) == 1.0
    longer = replace(config, steps=6)
    assert follow_plan(replace(plan, model=network(), config=longer, resume=True)) == 4.0


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 4), (8, 2), (4, 2), (4, 1), (2, 1)])
def test_what_must_fit_into_memory_is_one_part_of_a_batch(
    batch_size: int, accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a machine with room for two images, a batch of any size goes in parts of two."""
    model = network(layers=1)
    widest = max(p.shape[0] for p in model.parameters())
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2.0 * 2 * 6 * 5 * widest)
    config = TrainConfig(steps=1, batch_size=batch_size, accumulate=accumulate)
    plan = TrainPlan(folder=tmp_path / "run", model=model, data=dataset(), config=config)
    if batch_size // accumulate > 2:
        with pytest.raises(UsageError, match="accumulate= larger"):
            follow_plan(plan)
    else:
        follow_plan(plan)


@pytest.mark.parametrize("slow", [0.0, 30.0])
def test_validations_take_a_fifth_of_the_minutes_at_most(
    slow: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of twenty seconds each update; a validation takes none, or as long as thirty."""
    now = 0.0

    def clock() -> float:
        return now

    class Time:
        monotonic = staticmethod(clock)

    def evaluation(*_: Any, **__: Any) -> float:
        nonlocal now
        now += slow
        return 1.0

    monkeypatch.setattr(loop, "time", Time)
    monkeypatch.setattr(loop, "evaluate", evaluation)
    config = TrainConfig(minutes=20.0, batch_size=1)
    validations = 0
    for step in train(initial_state(network(layers=1), config), dataset(8, (1, 3, 3)), config):
        now += 20.0
        validations += step.valid_bits_per_dim is not None
    assert 1200 <= now < 1260
    if slow:
        assert 0.1 < validations * slow / now <= 0.23  # the last one is on top
    else:
        assert 19 <= validations <= 21


@pytest.mark.parametrize(
    ("precision", "levels", "categorical", "wanted"),
    [
        ("auto", 2, False, True),
        ("auto", 256, False, True),
        ("auto", 257, False, False),
        ("auto", 1024, True, True),
        ("bf16", 65536, False, True),
        ("float32", 2, False, False),
    ],
)
def test_half_precision_where_it_tells_the_levels_apart(
    precision: Any, levels: int, categorical: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "multiplies_bf16", lambda _: True)
    model: Trainable = network(levels=levels, layers=1, value_features=2 if categorical else None)
    seen = []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    config = TrainConfig(steps=1, batch_size=2, precision=precision)
    steps = list(train(initial_state(model, config), dataset(4, (1, 3, 3), levels=levels), config))
    assert seen[0] == wanted and math.isfinite(steps[0].bits_per_dim)
