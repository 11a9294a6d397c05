import json
import math
import os
import stat
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, build, conditions, images, over
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nextpixel import GatedPixelCNN, MultiScale, load, save
from nextpixel.checkpoint import BEST, CheckpointError, Training, read_card
from nextpixel.files.card import ModelCard, place_name
from nextpixel.files.replacing import replace_file
from nextpixel.files.tensors import read_header, read_tensors, write_tensors
from nextpixel.models.embedding import Embedding
from nextpixel.models.trainable import Trainable
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import TrainConfig
from nextpixel.training.embedding import EmbeddingConfig

CARD = ModelCard(classes=("a", "b"), training=Training(step=3), notes={"about": "a test"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save(build("gated"), file, card=CARD)
    return file


def rewrite(path: Path, change: dict[str, Any] | str) -> None:
    """Replaces the metadata, or some of its JSON, with the digests that belong to it."""
    if isinstance(change, str):
        save_file(load_file(path), path, {"nextpixel": change})
    else:
        write_tensors(path, load_file(path), {**read_header(path).metadata, **change})


@over()
def test_a_loaded_model_gives_the_same_log_prob(name: str, tmp_path: Path) -> None:
    model = build(name)
    save(model, tmp_path / "model.safetensors")
    random = torch.get_rng_state()
    loaded = load(tmp_path / "model.safetensors")
    assert torch.equal(random, torch.get_rng_state())
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


def test_a_card_comes_back(path: Path) -> None:
    card = read_card(path)
    assert card.model == "GatedPixelCNN" and card.config == build("gated").config()
    expected = replace(
        CARD, model=card.model, config=card.config, weights_sha256=card.weights_sha256
    )
    assert card == expected and len(card.weights_sha256 or "") == 64


def test_every_field_of_a_card_comes_back(tmp_path: Path) -> None:
    config = TrainConfig(steps=5, batch_size=3, crop=7)
    card = ModelCard(
        source=Source("digits", captions="texts.txt"),
        preparation=Preparation(size=8, levels=4, text_encoder=("a", "b"), test=0.2),
        classes=("a",),
        shape=(8, 9),
        training=Training(step=3, seconds=1.5, valid_bits_per_dim=2.5, config=config),
        notes={"test": {"bits_per_dim": 1.25}, "about": "ünïcode"},
    )
    save(build("gated"), tmp_path / "model", card=card)
    found = read_card(tmp_path / "model")
    for name in ("source", "preparation", "classes", "shape", "training", "notes"):
        assert getattr(found, name) == getattr(card, name)
    card = ModelCard(
        classes=("a", "b"),
        held_out=("b",),
        training=EmbeddingConfig(steps=7),
        verification={"loss": 0.5, "known": {"auroc": 0.75, "own_threshold": True}},
    )
    save(Embedding(size=(4, 4), outputs=2, features=2), tmp_path / "model", card=card)
    found = read_card(tmp_path / "model")
    for name in ("classes", "held_out", "training", "verification"):
        assert getattr(found, name) == getattr(card, name)


def test_a_checkpoint_never_holds_the_folders_of_the_data(tmp_path: Path) -> None:
    for place, name in (
        ("/home/jane/patients", "patients"),
        ("C:\\Users\\jane\\scans.npz", "scans.npz"),
        ("hf:/home/jane/set", "set"),
        ("hf:org/set:config", "hf:org/set:config"),
        ("digits", "digits"),
        ("/home/jane/digits", "./digits"),
    ):
        assert place_name(place) == name
        save(build("gated"), tmp_path / "model", card=ModelCard(source=Source(place, maps=place)))
        assert read_card(tmp_path / "model").source == Source(name, maps=name)
        assert b"jane" not in (tmp_path / "model").read_bytes()


def test_a_run_folder_stands_for_its_best_weights(path: Path) -> None:
    for name, advice in (("other", "the folder of a run"), ("model.safetensors", r"\S*model\.s")):
        path = path.rename(path.parent / name)
        with pytest.raises(CheckpointError, match=f"holds no best.safetensors; give {advice}"):
            load(path.parent)
    path.rename(path.parent / BEST)
    assert load(path.parent).config() == build("gated").config()
    assert read_card(str(path.parent)).classes == ("a", "b")


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


def test_every_damaged_byte_is_found(path: Path) -> None:
    """No reader gives another model or another card, and none raises another exception."""
    data, card = path.read_bytes(), read_card(path)
    expected = load(path).state_dict()
    for position in range(0, len(data), 997):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x11]) + data[position + 1 :])
        try:
            found = load(path).state_dict()
            assert read_card(path) == card
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        except CheckpointError as error:
            assert str(path) in str(error)


def test_weights_that_were_exchanged_are_found(path: Path, tmp_path: Path) -> None:
    """Files whose header and metadata are whole."""
    save(build("gated", seed=1), tmp_path / "other", card=CARD)
    data, other = path.read_bytes(), (tmp_path / "other").read_bytes()
    size = 8 + struct.unpack("<Q", data[:8])[0]
    path.write_bytes(data[:size] + other[size:])
    assert read_card(path).classes == ("a", "b")
    with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
        load(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"dtype":"F16"', '"dtype":"BF16"'),
        ('"dtype":"F16"', '"dtype":"I16"'),
        ('"shape":[2,3]', '"shape":[3,2]'),
        ('"shape":[2,3]', '"shape":[6]'),
        ('"one":{', '"two":{'),
    ],
)
def test_the_same_bytes_read_otherwise_are_other_tensors(
    before: str, after: str, tmp_path: Path
) -> None:
    """Names, shapes and types are part of what the digest is of."""
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"one": torch.arange(6).view(2, 3).half()}, {})
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, rest = data[8 : 8 + size].decode(), data[8 + size :]
    assert before in header
    header = header.replace(before, after)
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + rest)
    with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
        read_tensors(path)


def test_digests_cannot_be_left_out(path: Path) -> None:
    metadata = dict(read_header(path).metadata)
    tensors = load_file(path)
    for change in ({}, {"sha256": None}, {"sha256": {"weights": "0" * 64}}):
        save_file(tensors, path, {"nextpixel": json.dumps(metadata | change)})
        with pytest.raises(CheckpointError, match="its metadata are not those that were written"):
            load(path)
    save_file(tensors, path, {"nextpixel": json.dumps(metadata | {"format": 1})})
    assert read_card(path).weights_sha256 is None and load(path).config() == metadata["config"]


def test_a_foreign_file(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not of nextpixel"):
        load(tmp_path / "foreign.safetensors")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "pickle.pt")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load(tmp_path / "pickle.pt")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"format": "1"}', '{"format": true}', '{"format": NaN}', "[" * 100_000]
    + ['{"format": 1, "notes": ' + "[" * 900 + "]" * 900 + "}"],
)
def test_damaged_json(path: Path, text: str) -> None:
    rewrite(path, text)
    with pytest.raises(CheckpointError, match=r"is damaged: it"):
        load(path)


CONFIG = build("gated").config()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "PixelDream"}, "'PixelDream', but this version of nextpixel knows Diagonal"),
        ({"model": ["GatedPixelCNN"]}, r'model is \["GatedPixelCNN"\], but must be a string'),
        ({"format": 3, "version": "9.0"}, "has format 3, written by nextpixel '9.0', .* newer"),
        ({"config": {"features": 7, "channels": 2}}, r"is refused \(features= must be"),
        ({"config": {"colour": "red"}}, "has the field 'colour', which this version"),
        ({"config": {"layers": "2"}}, 'layers is "2", but must be a whole number'),
        ({"config": None}, "config is null, but must be an object"),
        ({"config": CONFIG | {"features": 16}}, "does not fit its own configuration"),
        ({"config": CONFIG | {"layers": 2}}, "absent in the model"),
        ({"config": CONFIG | {"skip": "no"}}, 'skip is "no", but must be true or false'),
        ({"config": CONFIG | {"condition": {"classes": "x"}}}, "is refused"),
        ({"config": CONFIG | {"condition": [[[]]]}}, "is refused"),
        ({"version": 1}, "version is 1, but must be a string"),
        ({"source": ["/etc"]}, "is not an object"),
        ({"classes": "ab"}, 'classes is "ab", but must be a list of strings'),
        ({"classes": [1]}, r"classes\[0\] is 1"),
        ({"shape": [8]}, r"shape is \[8\], but must be 2 whole numbers or null"),
        ({"shape": [0, 8]}, "must be at least 1×1"),
        ({"training": 3}, "training is 3"),
        ({"training": {"step": "3"}}, "training.step"),
        ({"training": {"step": 3, "config": {"steps": True}}}, "training.config.steps is true"),
        ({"training": {"step": 3, "config": {"batch_size": 0}}}, "training.config is refused"),
        ({"training": {"seconds": 1}}, "training is refused"),
        ({"data": ["digits"]}, "is not an object"),
        (
            {"data": {"source": "digits", "cache_folder": "/tmp"}},
            "has the unknown key 'cache_folder'",
        ),
        ({"data": {"source": "digits", "memory_bytes": 1}}, "has the unknown key 'memory_bytes'"),
        ({"data": {"source": 1}}, "record of the source is damaged"),
        ({"preparation": {"size": [1, 2, 3]}}, "record of the preparation is damaged"),
        ({"held_out": {"a": 1}}, "held_out"),
        ({"verification": {"known": [1]}}, "verification.known"),
        ({"own": True}, "own is not one that a file may have"),
    ],
)
def test_metadata_that_contradict_themselves_or_the_weights(
    path: Path, change: dict[str, Any], message: str
) -> None:
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_fields_of_a_newer_version_are_notes(path: Path) -> None:
    change = {"mood": {"good": [1]}, "training": {"step": 3, "config": {"dream": 1}, "naps": 2}}
    rewrite(path, change)
    card = read_card(path)
    assert card.notes == {"about": "a test", "mood": {"good": [1]}}
    assert isinstance(card.training, Training) and card.training.config == TrainConfig()
    save(load(path), path, card=card)
    assert read_card(path).notes == card.notes


HUGE = 2**61 - 1


@pytest.mark.parametrize(
    "config",
    [
        {"layers": 10**9},
        {"features": 10**9},
        {"head_features": 10**9},
        {"levels": 10**9, "head": "logistic"},
        {"levels": HUGE},
        {"channels": 10**6},
        {"kernel_size": 10**9 + 1},
        {"first_kernel_size": 65535},
        {"position_waves": 65536},
        {"value_features": 10**9},
        {"condition": {"classes": 10**6}},
        {"condition": {"size": 10**12}},
        {"condition": {"maps": 1, "scale": HUGE, "levels": 2, "features": 1, "categorical": False}},
        {"condition": {"maps": 10**9, "scale": 2, "levels": 9, "features": 9, "categorical": True}},
    ],
    ids=str,
)
def test_a_small_file_costs_little(tmp_path: Path, config: dict[str, Any]) -> None:
    """A file of some hundred bytes whose configuration asks for terabytes or years."""
    path = tmp_path / "model"
    metadata = {"version": "0.2.0", "model": "GatedPixelCNN", "config": config}
    write_tensors(path, {"a": torch.zeros(2)}, metadata)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="the file holds only|does not fit|refused"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_layers_of_nested_models_count_together(tmp_path: Path) -> None:
    part: dict[str, Any] = {"model": "RowLSTM", "layers": 50}
    for _ in range(20):
        part = {"model": "MultiScale", "small": part, "large": {"model": "PixelCNN", "layers": 50}}
    metadata = {"version": "0.2.0", "model": part.pop("model"), "config": part}
    write_tensors(tmp_path / "model", {str(k): torch.zeros(1) for k in range(60)}, metadata)
    with pytest.raises(CheckpointError, match="layers=50, but the file holds only 60 tensors"):
        load(tmp_path / "model")
    assert MultiScale.__name__ == metadata["model"]


def test_types_of_weights_are_checked(path: Path) -> None:
    tensors, metadata = load_file(path), read_header(path).metadata
    first = min(tensors)
    for other in (tensors[first].float(), tensors[first].long()):
        write_tensors(path, tensors | {first: other}, metadata)
        with pytest.raises(CheckpointError, match="its weights are of the types"):
            load(path)
    write_tensors(path, {name: tensor.bfloat16() for name, tensor in tensors.items()}, metadata)
    assert load(path).dtype == torch.bfloat16


def test_only_known_classes_are_saved(tmp_path: Path) -> None:
    class Own(GatedPixelCNN):
        pass

    with pytest.raises(ValueError, match="cannot name the class Own, only DiagonalBiLSTM, Gated"):
        save(Own(levels=4, features=8, layers=2), tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="notes use the name 'config'"):
        ModelCard(notes={"config": {}})
    with pytest.raises(
        FileNotFoundError, match="own.safetensors: the folder .*absent does not exist"
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


def test_permissions_stay(path: Path, tmp_path: Path) -> None:
    for permissions in (0o600, 0o644, 0o664):
        path.chmod(permissions)
        save(build("gated-binary"), path)
        assert stat.S_IMODE(path.stat().st_mode) == permissions
    (tmp_path / "plain").touch()
    save(build("gated-binary"), tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nobody_else_can_prepare_the_temporary_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is new, private and has an unpredictable name; the umask does not change."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was changed"))
    names = set()
    for _ in range(3):
        with replace_file(path) as temporary:
            names.add(temporary.parent.name)
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
            temporary.write_bytes(b"new")
    assert len(names) == 3


def test_links_are_not_followed(path: Path, tmp_path: Path) -> None:
    """Neither one in the place of the file, which is replaced, nor one in that of the new one."""
    private = tmp_path / "private"
    private.write_bytes(b"secret")
    private.chmod(0o600)
    path.unlink()
    path.symlink_to(private)
    save(build("gated"), path)
    assert not path.is_symlink() and private.read_bytes() == b"secret"
    with pytest.raises(OSError), replace_file(path) as temporary:
        temporary.symlink_to(private)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600 and load(path)


def test_tensors_and_json_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "step": torch.tensor(2.0), "empty": torch.zeros(0, 2)}
    tensors |= {"half": torch.ones(2).bfloat16(), "true": torch.tensor([True])}
    write_tensors(tmp_path / "t", tensors, {"scalar": 0.1})
    found, header = read_tensors(tmp_path / "t")
    assert header.metadata["scalar"] == 0.1
    assert found.keys() == tensors.keys() == header.shapes.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    with pytest.raises(ValueError, match="Out of range"):
        write_tensors(tmp_path / "t", tensors, {"scalar": math.nan})


def test_every_model_class_is_known() -> None:
    from nextpixel.models.registry import MODELS

    assert {type(build(name)) for name in CASES} <= set(MODELS.values())
    assert all(
        name == model.__name__ and issubclass(model, Trainable | Embedding)
        for name, model in MODELS.items()
    )


def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(GatedPixelCNN(levels=4, features=8, layers=2), tmp_path / "m.safetensors")
    opened = iter([RuntimeError("size <8> is smaller than the required mapping size <16>"), None])

    def changing(*arguments: Any, **keywords: Any) -> Any:
        if (error := next(opened, None)) is not None:
            raise error
        return safe_open(*arguments, **keywords)

    monkeypatch.setattr("nextpixel.files.tensors.safe_open", changing)
    assert read_card(tmp_path / "m.safetensors").model == "GatedPixelCNN"
