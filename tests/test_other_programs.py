"""The examples of docs/guides/other-programs.md, with stand-ins for packages that are missing."""

import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "other-programs.md"


class LightningModule(nn.Module):
    def log(self, name: str, value: Any) -> None:
        assert value.isfinite(), name


class Trainer:
    def __init__(self, *, max_epochs: int, **_: object) -> None:
        self.epochs = max_epochs

    def fit(self, module: Any, loader: Any) -> None:
        optimizer = module.configure_optimizers()
        for _ in range(self.epochs):
            for index, batch in enumerate(loader):
                optimizer.zero_grad()
                module.training_step(batch, index).backward()
                optimizer.step()


class Accelerator:
    """Wraps the model, as several processes would have it."""

    def prepare(self, model: nn.Module, *others: Any) -> tuple[Any, ...]:
        return nn.DataParallel(model), *others

    def backward(self, loss: Any) -> None:
        loss.backward()


STAND_INS = {
    "lightning": types.SimpleNamespace(LightningModule=LightningModule, Trainer=Trainer),
    "accelerate": types.SimpleNamespace(Accelerator=Accelerator),
}


@pytest.mark.parametrize("package", STAND_INS)
def test_an_example_runs(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if f"{package}" in block)
    if importlib.util.find_spec(package) is None:
        monkeypatch.setitem(sys.modules, package, STAND_INS[package])  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(example, str(PAGE), "exec"), {"__name__": "page"})
    said = capsys.readouterr().out
    assert "torch.Size([4, 1, 6, 6])" in said
    if package == "lightning":
        assert float(said.split()[0]) < 1.9  # of 2 bits, untrained
    else:
        assert (tmp_path / "model.safetensors").is_file()
