"""A run folder, damaged at random: every reader gives what it gave before, or one sentence."""

import json
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextpixel import GatedPixelCNN, Preparation, TrainConfig, load, load_data
from nextpixel.checkpoint import CheckpointError, read_card
from nextpixel.cli.app import main
from nextpixel.errors import UsageError
from nextpixel.training.runs import reopen, run

FILES = ("best.safetensors", "state.safetensors", "run.json", "metrics.jsonl")
OTHERS: list[Any] = [None, True, -1, 0, 3, 2**61 - 1, 1e300, 0.5, "", "gated", "/", [], [1], {}]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in the middle."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    images = np.random.default_rng(0).integers(0, 4, (20, 4, 4)).astype(np.uint8)
    np.save(folder.parent / "images.npy", images)
    data = load_data(folder.parent / "images.npy", Preparation(levels=4))
    model = GatedPixelCNN(levels=4, features=4, layers=1, kernel_size=3)
    config = TrainConfig(steps=8, batch_size=4, evaluate_every=2)
    for step in run(folder, model, data, config, log_every=1):
        if step.step == 5:
            break
    return folder


def flip(data: bytes, moment: random.Random) -> bytes:
    """One bit is another."""
    place = moment.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << moment.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, moment: random.Random) -> bytes:
    """The end is missing."""
    return data[: moment.randrange(len(data))]


def fields(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: what holds it, and its name there."""
    for key in (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    ):
        yield value, key
        yield from fields(value[key])


def edit(data: bytes, moment: random.Random) -> bytes:
    """One field of the JSON is deleted, or is another value."""
    if data[:1] in b"{" and data.count(b"\n") > 1 and b'\n{"' in data:
        lines = data.splitlines(keepends=True)
        number = moment.randrange(len(lines))
        lines[number] = edited(lines[number].decode(), moment).encode() + b"\n"
        return b"".join(lines)
    if data[:1] == b"{":
        return edited(data.decode(), moment).encode()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    texts = header["__metadata__"]
    texts["nextpixel"] = edited(texts["nextpixel"], moment)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def edited(text: str, moment: random.Random) -> str:
    """JSON with a field that is gone or another."""
    value = json.loads(text)
    holder, key = moment.choice(list(fields(value)))
    kind = moment.choice(("delete", "replace", "nudge"))
    if kind == "delete":
        del holder[key]
    elif kind == "nudge" and isinstance(holder[key], int | float):
        holder[key] = not holder[key] if isinstance(holder[key], bool) else holder[key] + 1
    elif kind == "nudge" and isinstance(holder[key], str):
        holder[key] += "2"
    else:
        holder[key] = moment.choice(OTHERS)
    return json.dumps(value)


def next_weights(folder: Path) -> list[torch.Tensor]:
    """The weights after one more step."""
    model, data, config = reopen(folder)
    for _ in run(folder, model, data, config, resume=True):
        break
    return list(model.state_dict().values())


def weights(folder: Path) -> list[Any]:
    """The best weights, and what they are the weights of."""
    model = load(folder)
    return [type(model).__name__, model.config(), *model.state_dict().values()]


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


def outcomes(whole: Path, tmp_path: Path, count: int, seed: int) -> Counter[str]:
    """What the readers of damaged folders do, and how often."""
    moment, found, copy = random.Random(seed), Counter[str](), tmp_path / "copy"
    readers: dict[str, Callable[[Path], Any]] = {
        "load": weights,
        "card": lambda folder: [read_card(folder)],
        "info": lambda folder: [main(["info", str(folder)])],
        "resume": next_weights,
    }
    expected: dict[str, list[Any]] = {}
    for number in range(count + 1):
        shutil.copytree(whole, copy)
        what, file = "nothing", ""
        if number:
            file, damage = moment.choice(FILES), moment.choice((flip, cut, edit))
            path = copy / file
            path.write_bytes(damage(path.read_bytes(), moment))
            what = f"{number}: {damage.__name__} {path.name}"
        for name, reader in readers.items():
            if file and (file == "best.safetensors") == (name == "resume"):
                continue  # reads another file
            try:
                given = reader(copy)
            except UsageError as error:
                # A damaged signature is that of a stranger, whose places are not opened.
                stranger = file == "run.json" and "was not trained by this user" in str(error)
                assert isinstance(error, CheckpointError) or stranger, what
                assert "\n" not in str(error), what
                found["error"] += 1
            except SystemExit as error:
                found["error" if error.code == 2 else f"{what}: {name} exits {error.code}"] += 1
            except Exception as error:  # the proof is that there is none
                found[f"{what}: {name} raised {type(error).__name__}: {error}"] += 1
            else:
                ok = same(given, expected.setdefault(name, given))
                found["same" if ok else f"{what}: {name} gave another result"] += 1
        shutil.rmtree(copy)
    return found


@pytest.mark.parametrize("count", [80, pytest.param(1200, marks=pytest.mark.slow)])
def test_a_damaged_run_gives_the_same_or_one_sentence(
    whole: Path, tmp_path: Path, count: int
) -> None:
    found = outcomes(whole, tmp_path, count, seed=count)
    assert found.pop("same") > count / 8 and found.pop("error") > count / 2
    assert not found
