"""Runs that are killed, in real processes, and go on as if nothing had happened."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_training import dataset, network, ragged

from nextpixel import load
from nextpixel.data.splits import ImageData
from nextpixel.files.tensors import read_header
from nextpixel.training.loop import TrainConfig
from nextpixel.training.metrics import read_metrics
from nextpixel.training.runs import run

CONFIG = TrainConfig(
    steps=40,
    batch_size=6,
    accumulate=2,
    crop=5,
    flip=True,
    learning_rate=0.01,
    ema_decay=0.9,
    evaluate_every=7,
    precision="float32",  # "auto" is measured by every process
    seed=3,
)

# Every process is a fork of one that has torch loaded but never used; torch._dynamo is what
# optimisers load at last.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["test_training", "nextpixel.training.runs", "torch._dynamo"])


def data() -> ImageData:
    return replace(dataset(), train=ragged(), shape=None)


def work(folder: Path, dies_at: tuple[str, int] | None = None, **options: Any) -> None:
    """What a process does: start or resume the run, and say how it was stopped.

    With `dies_at` it kills itself at the nth call of a function of `os`, in the middle of a save.
    """
    torch.set_num_threads(1)
    if dies_at is not None:
        name, calls = dies_at
        original = getattr(os, name)

        def die(*arguments: Any) -> Any:
            nonlocal calls
            calls -= 1
            if not calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        setattr(os, name, die)
    resume = (folder / "run.json").exists()
    try:
        for _ in run(
            folder, network(dropout=0.3), data(), CONFIG, resume=resume, log_every=3, **options
        ):
            pass
    except KeyboardInterrupt as error:
        (folder / "stopped").write_text(str(error))
        sys.exit(130)


def start(folder: Path, **options: Any) -> Any:
    process = PROCESSES.Process(target=work, args=(folder,), kwargs=options)
    process.start()
    return process


def finish(folder: Path) -> None:
    process = start(folder)
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    # The server that is forked, which the first process starts, finds modules as pytest does.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        finish(folder)
    assert load_file(folder / "state.safetensors")["model/head_out.bias"].isfinite().all()
    return folder


def assert_same(folder: Path, expected: Path) -> None:
    """Weights, averages, moments and best weights bitwise; metrics except for timings."""
    for name in ("state.safetensors", "best.safetensors"):
        found, wanted = load_file(folder / name), load_file(expected / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    timings = {"seconds": 0, "images_per_second": 0}
    assert [line | timings for line in read_metrics(folder)] == [
        line | timings for line in read_metrics(expected)
    ]
    assert {file.name for file in folder.iterdir()} - {"stopped"} == {
        file.name for file in expected.iterdir()
    }


def assert_loads(folder: Path) -> int:
    """Whatever files there are, are whole. Returns the step of the state."""
    if (folder / "best.safetensors").exists():
        load(folder)
    return (
        read_header(folder / "state.safetensors").metadata["state"]["step"]
        if (folder / "run.json").exists()
        else 0
    )


def test_killed_at_random_moments_it_goes_on_bit_identically(
    tmp_path: Path, uninterrupted: Path
) -> None:
    folder, moment, kills, steps = tmp_path / "run", random.Random(0), 0, set()
    for _ in range(12):
        # Every step is saved, so most of these moments are within a save.
        process = start(folder, save_seconds=0.0)
        before = assert_loads(folder)
        deadline = time.monotonic() + 60
        while process.is_alive() and assert_loads(folder) <= before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(moment.uniform(0, 0.05))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        steps.add(assert_loads(folder))
        if process.exitcode == 0:
            break
    assert kills >= 3 and len(steps) >= 3
    finish(folder)
    assert_same(folder, uninterrupted)


@pytest.mark.parametrize(
    "dies_at",
    [
        ("fsync", 2),
        ("replace", 1),
        ("replace", 3),
        ("replace", 10),
        ("fsync", 24),
        ("fsync", 37),
        ("fsync", 38),
    ],
    ids=lambda at: f"{at[0]}-{at[1]}",
)
def test_killed_within_a_save_it_goes_on_bit_identically(
    tmp_path: Path, uninterrupted: Path, dies_at: tuple[str, int]
) -> None:
    folder = tmp_path / "run"
    process = start(folder, dies_at=dies_at, save_seconds=0.0)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert_loads(folder)
    # Every second fsync is of the folder, when the file has got its name.
    between = dies_at[0] == "replace" or dies_at[1] % 2 == 1
    unfinished = [left for left in folder.glob(".*.tmp/*") if left.name != "nextpixel"]
    assert len(unfinished) == between
    finish(folder)
    assert_same(folder, uninterrupted)


def test_what_a_killed_writer_leaves_is_removed(tmp_path: Path, uninterrupted: Path) -> None:
    """And nothing of anybody else, whatever it is called."""
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    process = start(tmp_path / "other", save_seconds=0.0)
    process.kill()
    process.join()
    ours = folder / f".state.safetensors.nextpixel-{process.pid}-1-abc.tmp"
    mine = folder / f".mine.nextpixel-{process.pid}-1-abc.tmp"
    others = [folder / ".cache.tmp", folder / ".state.safetensors.123.tmp", mine]
    for left in (ours, *others):
        left.mkdir()
        (left / ".tmpYZDJKf").write_bytes(b"half of a state")
    (ours / "nextpixel").touch()
    finish(folder)
    for left in others:
        assert (left / ".tmpYZDJKf").exists()
        shutil.rmtree(left)
    assert_same(folder, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, uninterrupted: Path, number: int
) -> None:
    folder = tmp_path / "run"
    process = start(folder, save_seconds=0.0)
    deadline = time.monotonic() + 60
    while assert_loads(folder) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 130
    step = assert_loads(folder)
    assert 5 <= step < 40
    assert (
        (folder / "stopped").read_text()
        == f"stopped by {signal.Signals(number).name} after step {step} with the state saved; to go"
        f" on: nextpixel train --resume {folder}"
    )
    finish(folder)
    assert_same(folder, uninterrupted)
