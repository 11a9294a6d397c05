"""Two processes on the CPU (gloo), as torchrun starts them, against one with the same batch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training import dataset, network, weights

from nextpixel import ClassCondition, load
from nextpixel.checkpoint import read_card
from nextpixel.training.distributed import rank_and_processes
from nextpixel.training.evaluation import evaluate
from nextpixel.training.loop import TrainConfig
from nextpixel.training.metrics import read_metrics
from nextpixel.training.runs import run

# Seven images: the processes' shares are unequal, and so are the parts of a share.
CONFIG = TrainConfig(
    steps=8,
    batch_size=7,
    accumulate=2,
    crop=4,
    flip=True,
    evaluate_every=4,
    learning_rate=0.01,
    precision="float32",
)


def work(folder: Path, *, resume: bool, minutes: bool) -> None:
    """What each process does; the first writes its losses, all write their last weights."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    config = replace(CONFIG, steps=None, minutes=1 / 120) if minutes else CONFIG
    # Every process starts from other weights; those of the first count.
    model = network(seed=rank, condition=ClassCondition(2))
    losses = []
    for step in run(folder, model, dataset(classes=2), config, resume=resume, log_every=1):
        losses.append([step.step, step.bits_per_dim, step.gradient_norm, step.valid_bits_per_dim])
        if minutes and step.step == 1:
            assert rank_and_processes() == (rank, 2)
    torch.save(weights(model), folder / f"weights-{rank}.pt")
    (folder / f"losses-{rank}.json").write_text(json.dumps(losses))


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [*command, f"--log-dir={folder / 'logs'}", __file__, str(folder), *arguments],
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    work(one, resume=False, minutes=False)
    two.mkdir()
    done = torchrun(two)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr

    expected, first, second = (
        json.loads(path.read_text()) for path in _files(one, two, "losses-{}.json")
    )
    assert first == second
    assert len(first) == 8
    for found, wanted in zip(first, expected, strict=True):
        assert [value is None for value in found] == [value is None for value in wanted]
        assert all(
            a == pytest.approx(b, abs=1e-5)
            for a, b in zip(found, wanted, strict=True)
            if a is not None
        )
    expected_weights, first_weights, second_weights = map(
        torch.load, _files(one, two, "weights-{}.pt")
    )
    assert torch.equal(first_weights, second_weights)
    assert torch.allclose(first_weights, expected_weights, atol=1e-4)

    valid = dataset(classes=2).valid
    stated = read_card(two).to_json()["training"]["valid_bits_per_dim"]
    assert evaluate(load(two), valid) == pytest.approx(stated, abs=1e-5)
    assert [line["step"] for line in read_metrics(two) if "train_bits_per_dim" in line] == list(
        range(1, 9)
    )


@pytest.mark.slow
def test_two_processes_stop_together_by_the_clock_and_refuse_what_one_refuses(
    tmp_path: Path,
) -> None:
    done = torchrun(tmp_path, "minutes")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"losses-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and len(first) >= 2
    again = torchrun(tmp_path, "minutes")
    assert again.returncode != 0
    assert "holds a run already" in again.stderr


def _files(one: Path, two: Path, name: str) -> list[Path]:
    return [one / name.format(0), two / name.format(0), two / name.format(1)]


if __name__ == "__main__":
    work(Path(sys.argv[1]), resume="resume" in sys.argv, minutes="minutes" in sys.argv)
