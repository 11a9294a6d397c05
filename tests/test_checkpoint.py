import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, build, conditions, images
from safetensors.torch import load_file, save_file

from nextpixel import GatedPixelCNN, load, save
from nextpixel.checkpoint import BEST, CheckpointError, read_metadata, read_tensors, write_tensors
from nextpixel.models.embedding import Embedding
from nextpixel.models.trainable import Trainable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save(build("gated"), file, extra={"classes": ["a", "b"], "training": {"step": 3}})
    return file


def rewrite(path: Path, change: dict[str, Any] | str) -> None:
    """Replaces the metadata, or some of its JSON."""
    text = change if isinstance(change, str) else json.dumps(read_metadata(path) | change)
    save_file(load_file(path), path, {"nextpixel": text})


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_gives_the_same_log_prob(name: str, tmp_path: Path) -> None:
    model = build(name)
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert type(loaded) is type(model) and loaded.config() == model.config() and not loaded.training
    x, condition = images(model, 3, (4, 5)), conditions(model, 3, (4, 5))
    assert torch.equal(loaded(x, condition).log_prob(x), model(x, condition).log_prob(x))


def test_float32_and_channels_last_weights_survive(tmp_path: Path) -> None:
    model = GatedPixelCNN(levels=4, features=8, layers=2).to(memory_format=torch.channels_last)
    save(model, tmp_path / "model.safetensors")
    loaded = load(str(tmp_path / "model.safetensors"))
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in zip(loaded.parameters(), model.parameters(), strict=True)
    )


def test_metadata_says_what_rebuilds_the_model(path: Path) -> None:
    metadata = read_metadata(path)
    assert metadata["model"] == "GatedPixelCNN" and metadata["format"] == 1
    assert metadata["config"] == build("gated").config()
    assert metadata["classes"] == ["a", "b"] and metadata["training"] == {"step": 3}


def test_a_run_folder_stands_for_its_best_weights(path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="holds no best.safetensors; give the folder of a run"
    ):
        load(path.parent)
    path.rename(path.parent / BEST)
    assert load(path.parent).config() == build("gated").config()
    assert read_metadata(str(path.parent))["classes"] == ["a", "b"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"nothing.safetensors does not exist; give a checkpoint"
    ):
        load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 9, 200, -1])
def test_a_truncated_file(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model.safetensors is truncated, damaged"):
        load(path)


def test_every_damaged_header_byte_is_an_error_or_harmless(path: Path) -> None:
    """Never another exception, nor a model that differs in more than its metadata."""
    data, whole = path.read_bytes(), load(path)
    size = 8 + struct.unpack("<Q", data[:8])[0]
    for position in range(0, size, 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x11]) + data[position + 1 :])
        try:
            found = load(path)
        except CheckpointError as error:
            assert str(path) in str(error)
        else:
            assert type(found) is type(whole)
            weights, wanted = found.state_dict(), whole.state_dict()
            assert weights.keys() == wanted.keys()
            assert all(torch.equal(weights[name], wanted[name]) for name in wanted), position


def test_a_foreign_file(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not of nextpixel"):
        load(tmp_path / "foreign.safetensors")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "pickle.pt")
    with pytest.raises(CheckpointError, match="no safetensors file at all"):
        load(tmp_path / "pickle.pt")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": "1"}', '{"format": true}', "[" * 100_000]
)
def test_damaged_json(path: Path, text: str) -> None:
    rewrite(path, text)
    with pytest.raises(CheckpointError, match="is damaged: its metadata"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": "PixelDream"},
            "'PixelDream', but this version of nextpixel knows DiagonalBiLSTM, GatedPixelCNN",
        ),
        ({"model": ["GatedPixelCNN"]}, "knows DiagonalBiLSTM, GatedPixelCNN"),
        (
            {"format": 2, "version": "9.0"},
            "has format 2, written by nextpixel 9.0, .* install a newer nextpixel",
        ),
        (
            {"config": {"features": 7, "channels": 2}},
            r"cannot rebuild its GatedPixelCNN \(features= must be .*, not 7",
        ),
        ({"config": {"colour": "red"}}, "cannot rebuild its GatedPixelCNN"),
        ({"config": {"layers": "2"}}, "cannot rebuild its GatedPixelCNN"),
        ({"config": None}, "its configuration is no JSON object"),
        (
            {"config": {"levels": 4, "features": 16, "layers": 3, "kernel_size": 3}},
            "does not fit its own configuration",
        ),
        (
            {"config": {"levels": 4, "features": 8, "layers": 2, "kernel_size": 3}},
            "absent in the model",
        ),
    ],
)
def test_metadata_that_contradicts_the_weights_or_this_version(
    path: Path, change: dict[str, Any], message: str
) -> None:
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_only_known_classes_are_saved(tmp_path: Path) -> None:
    class Own(GatedPixelCNN):
        pass

    with pytest.raises(ValueError, match="cannot name the class Own, only DiagonalBiLSTM, Gated"):
        save(Own(levels=4, features=8, layers=2), tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="extra uses the name 'config'"):
        save(build("gated"), tmp_path / "own.safetensors", extra={"config": {}})
    with pytest.raises(
        FileNotFoundError, match="folder .*absent of own.safetensors does not exist"
    ):
        save(build("gated"), tmp_path / "absent" / "own.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise OSError("no space left on device")

            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="no space"):
                save(build("gated-binary"), path)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_tensors_and_json_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "step": torch.tensor(2.0), "empty": torch.zeros(0, 2)}
    write_tensors(tmp_path / "t", tensors, {"format": 1, "scalar": 0.1})
    found, metadata = read_tensors(tmp_path / "t")
    assert metadata["scalar"] == 0.1
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_every_model_class_is_known() -> None:
    from nextpixel.models.registry import MODELS

    assert {type(build(name)) for name in CASES} <= set(MODELS.values())
    assert all(
        name == model.__name__ and issubclass(model, Trainable | Embedding)
        for name, model in MODELS.items()
    )
