"""Files that version 0.1.0 wrote give the same figures today."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nextpixel import load, score
from nextpixel.checkpoint import load_embedding, load_trainable, read_card
from nextpixel.cli.app import main
from nextpixel.training.metrics import read_metrics

FOLDER = Path(__file__).parent / "fixtures" / "0.1.0"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())
RUN = EXPECTED.pop("run")


def log_prob(path: Path, expected: dict[str, Any]) -> torch.Tensor:
    """What a model says of the images now, in float64."""
    model, x = load(path).double(), torch.tensor(expected["x"])
    condition = tuple(torch.tensor(value) for value in expected.get("condition", ()))
    condition = tuple(c.double() if c.is_floating_point() else c for c in condition)
    if not condition:
        return score(model, x)
    return score(model, x, condition if len(condition) > 1 else condition[0])


def assert_near(found: torch.Tensor, expected: Any) -> None:
    assert torch.allclose(found, torch.tensor(expected, dtype=found.dtype), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_checkpoint_gives_the_same_figures(name: str) -> None:
    path, expected = FOLDER / f"{name}.safetensors", EXPECTED[name]
    x = torch.tensor(expected["x"])
    if name == "embedding":
        with torch.no_grad():
            assert_near(load_embedding(path).double()(x), expected["vectors"])
        return
    if "code" not in expected:
        assert_near(log_prob(path, expected), expected["log_prob"])
        return
    model: Any = load_trainable(path).double()
    with torch.no_grad():
        code = model.encode(x)
        assert_near(code, expected["code"])
        if "log_prob" in expected:
            assert_near(score(model, x, code), expected["log_prob"])
        else:
            assert model.reconstruct(x).tolist() == expected["reconstruction"]


def test_cards_say_what_they_said(capsys: pytest.CaptureFixture[str]) -> None:
    card = read_card(FOLDER / "gated-pixel-cnn.safetensors")
    assert (card.model, card.classes[:2], card.shape) == ("GatedPixelCNN", ("0", "1"), (6, 6))
    said = card.to_json()["training"]
    assert said["valid_bits_per_dim"] == 1.25 and said["config"]["steps"] == 12
    assert read_card(FOLDER / "pixel-cnn.safetensors").notes == {"about": "a model of codes"}
    embedding = read_card(FOLDER / "embedding.safetensors")
    assert len(embedding.held_out) == 2 and embedding.verification is not None
    main(["info", str(FOLDER / "run")])
    assert "none: written by version 0.1.0" in capsys.readouterr().out


def test_a_run_is_scored_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(FOLDER / "run", tmp_path / "run")
    assert_near(log_prob(folder, RUN), RUN["log_prob"])
    main(["evaluate", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out)["source"] == "digits"
    main(["train", "--resume", str(folder), "--steps", "12", "--quiet"])
    # Training in float32 rounds otherwise on other hardware.
    found = [x["valid_bits_per_dim"] for x in read_metrics(folder) if "valid_bits_per_dim" in x]
    assert found == pytest.approx([bits for _, bits in RUN["resumed_validations"]], abs=1e-4)
    resumed = torch.tensor(RUN["resumed_log_prob"], dtype=torch.float64)
    assert torch.allclose(log_prob(folder, RUN), resumed, rtol=1e-3, atol=0)
    assert read_card(folder).weights_sha256 is not None
