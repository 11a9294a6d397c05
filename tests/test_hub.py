"""Models of the Hugging Face Hub, without a network: its cache and folders are on this disk."""

import ast
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from cases import build, conditions, images
from torch import nn

import nextpixel
from nextpixel import GatedPixelCNN, VectorCondition, load, save, score
from nextpixel.checkpoint import CheckpointError, read_card
from nextpixel.files.card import ModelCard
from nextpixel.files.hub import downloaded
from nextpixel.inference.hub import HubModel
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.embedding import Embedding
from nextpixel.settings.source import Source

COMMIT = "0" * 40


def in_cache(cache: Path, name: str, file: str = "model.safetensors") -> Path:
    """Where the Hub's cache has a file of a repository."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    return repository / "snapshots" / COMMIT / file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_model_of_the_hub_is_its_checkpoint(cache: Path) -> None:
    model = build("gated-classes").float()
    path = in_cache(cache, "somebody/digits")
    save(model, path, card=ModelCard(classes=("a", "b", "c")))
    x, given = images(model, 2, (4, 4)), conditions(model, 2, (4, 4))
    for name in ("hf:somebody/digits", "hf:somebody/digits@main", f"hf:somebody/digits@{COMMIT}"):
        assert torch.equal(score(load(name), x, given), score(model, x, given))
    assert read_card("hf:somebody/digits").classes == ("a", "b", "c")
    assert HubModel.from_pretrained("somebody/digits").card.classes == ("a", "b", "c")


def test_only_the_checkpoint_of_a_repository_is_read(cache: Path) -> None:
    in_cache(cache, "somebody/pickled", "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'x'\ntR.")
    foreign = in_cache(cache, "somebody/foreign")
    foreign.write_bytes(b"cos\nsystem\n(S'x'\ntR.")
    with pytest.raises(CheckpointError, match=r"no model.safetensors of somebody/pickled"):
        load("hf:somebody/pickled")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load("hf:somebody/foreign")


@pytest.mark.parametrize("name", ["hf:", "hf:mnist", "hf:../x", "hf:a/b/c", "hf:a/..", "hf:/etc/x"])
def test_a_name_that_is_none_reaches_no_network(name: str) -> None:
    with pytest.raises(
        CheckpointError, match="neither a folder here nor the name of .* Hub; use hf:OWNER"
    ):
        load(name)


def test_a_file_that_is_too_large_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> str:
        raise AssertionError("fetched")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for size in (1 << 40, None):
        large = types.SimpleNamespace(size=size)
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: large)  # noqa: B023
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
        with pytest.raises(CheckpointError, match="more than 4,294,967,296; if you trust it"):
            downloaded("hf:somebody/large")


def test_what_is_pushed_has_no_private_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be uploaded is the folder of `save_pretrained`."""
    model = build("gated-classes").float()
    card = ModelCard(
        classes=("Ann", "Bob", "Cy"), shape=(4, 4), source=Source("/home/ann/portraits")
    )
    sent: dict[str, str] = {}

    class Api:
        def __init__(self, **_: object) -> None:
            pass

        def create_repo(self, repo_id: str, **_: object) -> object:
            return types.SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, folder_path: Path, **_: object) -> str:
            for file in folder_path.iterdir():
                sent[file.name] = file.read_bytes().decode("latin-1")
            return "sent"

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", Api)
    assert HubModel(model, card).push_to_hub("ann/faces") == "sent"
    assert sent.keys() == {"model.safetensors", "config.json", "README.md"}
    assert not any(name in text for text in sent.values() for name in ("Ann", "portraits", "/home"))
    assert "(4, 4)" in sent["README.md"] and "library_name: nextpixel" in sent["README.md"]
    kept = tmp_path / "kept"
    HubModel(model, card, keep_classes=True).save_pretrained(kept)
    (kept / "config.json").write_text(json.dumps({"model": "os.system", "keep_classes": "yes"}))
    again = HubModel.from_pretrained(kept)
    assert again.card.classes == ("Ann", "Bob", "Cy")
    assert torch.equal(again.model.state_dict()["head_out.weight"], model.head_out.weight)  # type: ignore[union-attr]


def test_the_hub_is_imported_when_it_is_needed() -> None:
    root = Path(nextpixel.__file__).parent
    for path in root.rglob("*.py"):
        names = [
            alias.name if isinstance(node, ast.Import) else node.module or ""
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        own = path == root / "inference" / "hub.py"
        assert own or not any(name.startswith("huggingface_hub") for name in names), path


SIZED = {"levels": 4, "size": (8, 8), "encoder_features": 4}


@pytest.mark.parametrize(
    ("make", "what", "name"),
    [
        (lambda: build("gated"), "An exact autoregressive model of images:", "images"),
        (lambda: build("gated-classes"), "model of images given a condition:", "images"),
        (
            lambda: PixelCNNAutoencoder(
                decoder=GatedPixelCNN(levels=4, features=8, layers=2, condition=VectorCondition(3)),
                size=(8, 8),
                encoder_features=4,
                variational=True,
            ),
            "is bounded from below",
            "similar",
        ),
        (lambda: ConvolutionalAutoencoder(**SIZED, code_size=2), "not a distribution", "similar"),
        (lambda: Embedding(levels=4, size=(8, 8), outputs=3), "An embedding of images", "vectors"),
    ],
)
def test_the_readme_says_what_the_model_is_and_its_code_runs(
    make: Callable[[], nn.Module], what: str, name: str, tmp_path: Path
) -> None:
    model = HubModel(make().float(), ModelCard(shape=(8, 8)))
    model.save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert what in text
    code = text.split("```python")[1].split("```")[0]
    known: dict[str, Any] = {"images": torch.zeros(2, 1, 8, 8, dtype=torch.int64)}
    exec(code.replace("hf:OWNER/NAME", str(tmp_path / "model.safetensors")), known)  # noqa: S102
    assert len(known[name]) in (2, 4)
