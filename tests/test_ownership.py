"""What a stranger's checkpoint or run folder may not make us open, and what one's own may."""

import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextpixel import (
    GatedPixelCNN,
    Preparation,
    Source,
    TrainConfig,
    VectorCondition,
    load_data,
    save,
)
from nextpixel.checkpoint import BEST, CheckpointError, read_card
from nextpixel.cli.app import main
from nextpixel.errors import UsageError
from nextpixel.files.card import ModelCard
from nextpixel.files.tensors import json_digest
from nextpixel.training.ownership import check_places, is_remote, is_signed, signature
from nextpixel.training.record import is_own, own_card, read_run, write_run
from nextpixel.training.runs import reopen, run

REMOTE = ["hf:org/set", "//host/share/x", r"\\host\share\x", "smb://host/x", "https://host/x.npz"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of this user's, of an array and vectors."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", generator.integers(0, 4, (20, 4, 4)).astype(np.uint8))
    np.save(tmp_path / "vectors.npy", generator.random((20, 2)).astype(np.float32))
    source = Source(tmp_path / "images.npy", vectors=tmp_path / "vectors.npy")
    data = load_data(source, Preparation(levels=4))
    model = GatedPixelCNN(
        levels=4, features=4, layers=1, kernel_size=3, condition=VectorCondition(2)
    )
    config = TrainConfig(steps=4, batch_size=4, evaluate_every=1)
    for step in run(tmp_path / "run", model, data, config):
        if step.step == 2:
            break
    return tmp_path / "run"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `load_data` is asked for, in place of reading it."""
    asked: list[Any] = []

    def load_nothing(*arguments: Any, **keywords: Any) -> Any:
        asked.append((arguments, keywords))
        raise UsageError("opened")

    monkeypatch.setattr("nextpixel.data.load.load_data", load_nothing)
    monkeypatch.setattr("nextpixel.training.runs.load_data", load_nothing)
    return asked


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().err


def be_a_stranger(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another user, or another machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert not is_own(folder)


def test_ones_own_run_finds_its_data(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out)["images"] == 3
    moved = folder.rename(tmp_path / "moved")
    main(["evaluate", str(moved / BEST), "--json"])
    card = own_card(moved)
    assert card.own and str(card.source) == str(tmp_path / "images.npy")
    assert str(read_card(moved).source) == "images.npy"
    main(["train", "--resume", str(moved), "--quiet"])
    assert is_own(moved)


def test_a_strangers_run_opens_nothing_unasked(
    folder: Path,
    tmp_path: Path,
    opened: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    be_a_stranger(folder, monkeypatch, tmp_path)
    for command in (["evaluate"], ["sample", "--n", "2"], ["reconstruct"], ["train", "--resume"]):
        said = fails([command[0], *command[1:], str(folder)], capsys)
        assert "images.npy" in said and "was not trained by this user" in said
    assert not opened
    images, vectors = str(tmp_path / "images.npy"), tmp_path / "vectors.npy"
    with pytest.raises(UsageError, match="names the vectors .*vectors.npy"):
        reopen(folder, source=images)
    assert not opened
    with pytest.raises(UsageError, match="opened"):
        reopen(folder, source=images, vectors=vectors)
    fails(["evaluate", str(folder), "--data", images, "--vectors", str(vectors)], capsys)
    assert len(opened) == 2


def test_a_run_that_is_given_its_data_again_becomes_ones_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_a_stranger(folder, monkeypatch, tmp_path)
    vectors = str(tmp_path / "vectors.npy")
    images = str(tmp_path / "images.npy")
    main(["train", images, "--resume", str(folder), "--vectors", vectors, "--quiet"])
    assert is_own(folder)
    main(["evaluate", str(folder)])


@pytest.mark.parametrize("place", REMOTE)
def test_nothing_connects_unless_it_is_said_again(
    place: str, folder: Path, opened: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_remote(place)
    for name in ("images", "vectors"):
        asked = read_run(folder)
        write_run(folder, asked | {"source": asked["source"] | {name: place}})
        assert is_own(folder)
        for command in (["evaluate"], ["train", "--resume"]):
            assert "not on this machine" in fails([*command, str(folder)], capsys)
        write_run(folder, asked)
    assert not opened


@pytest.mark.parametrize("place", ["/etc", "/etc/passwd", "images.npy", "../x", *REMOTE])
def test_a_checkpoint_alone_opens_nothing(
    place: str, tmp_path: Path, opened: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = GatedPixelCNN(levels=4, features=4, layers=1, kernel_size=3)
    for source in (Source(place), Source("digits", maps=place)):
        save(model, tmp_path / "model", card=ModelCard(source=source, shape=(4, 4)))
        said = fails(["evaluate", str(tmp_path / "model")], capsys)
        assert "give it yourself" in said or "give the place yourself" in said
    assert not opened
    check_places(Source("digits"), (), own=False, file="x", source="data")


@pytest.mark.parametrize(
    "change",
    [
        lambda asked: asked | {"source": asked["source"] | {"cache_folder": "/tmp/x"}},
        lambda asked: asked | {"preparation": {"memory_bytes": 2**62}},
        lambda asked: asked | {"source": None},
        lambda asked: asked | {"model": {"class": "os", "config": {}}},
        lambda asked: asked | {"model": {"class": "Embedding", "config": {"size": [4, 4]}}},
        lambda asked: asked | {"training": asked["training"] | {"batch_size": "4"}},
        lambda asked: asked | {"training": asked["training"] | {"dream": 1}},
    ],
)
def test_fields_of_a_run_are_checked_whoever_signed_it(
    change: Callable[[dict[str, Any]], dict[str, Any]], folder: Path, opened: list[Any]
) -> None:
    write_run(folder, change(read_run(folder)))
    with pytest.raises(CheckpointError, match="run.json|state.safetensors"):
        reopen(folder)
    assert not opened


def test_a_changed_run_is_not_believed(folder: Path) -> None:
    path = folder / "run.json"
    asked = json.loads(path.read_text())
    asked["source"]["images"] = "/etc"
    path.write_text(json.dumps(asked))
    with pytest.raises(CheckpointError, match="is not as it was written"):
        read_run(folder)
    del asked["signature"], asked["sha256"]
    path.write_text(json.dumps(asked | {"sha256": json_digest(asked)}))
    assert read_run(folder)["source"]["images"] == "/etc" and not is_own(folder)


def test_the_key_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert not is_signed("digest", "0" * 64) and not list(tmp_path.iterdir())
    signed = signature("digest")
    key = tmp_path / "nextpixel" / "key"
    assert [path.name for path in key.parent.iterdir()] == ["key"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert is_signed("digest", signed) and signature("digest") == signed
    for digest, other in (("other", signed), ("digest", None), ("digest", 7), ("digest", "é")):
        assert not is_signed(digest, other)
    key.chmod(0o644)  # others can read it, and sign what they like
    assert not is_signed("digest", signed) and signature("digest") is None
    key.unlink()
    shutil.rmtree(tmp_path / "nextpixel")
    (tmp_path / "nextpixel").touch()
    assert signature("digest") is None and not is_signed("digest", signed)


def test_a_card_is_never_read_as_ones_own(tmp_path: Path) -> None:
    model = GatedPixelCNN(levels=4, features=4, layers=1, kernel_size=3)
    card = replace(ModelCard(source=Source("/etc/x")), own=True)
    save(model, tmp_path / "model", card=card)
    assert not own_card(tmp_path / "model").own
