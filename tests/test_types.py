"""A program that uses the library passes mypy --strict, and mistakes in it do not."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import torch
from nextpixel import ClassCondition, GatedPixelCNN, TrainConfig
from nextpixel import bits_per_dim, complete, initial_state, load_data, sample, save, train

data = load_data("digits")
model = GatedPixelCNN(levels=17, features=8, condition=ClassCondition(10))
config = TrainConfig(steps=1)
state = initial_state(model, config)
for step in train(state, data, config):
    print(step.step, step.bits_per_dim)
x, labels = torch.from_numpy(data.test.images).long(), torch.from_numpy(data.test.labels)
print(bits_per_dim(state.average, x, labels), state.average.settings.features)
nines = sample(state.average, 16, (8, 8), condition=torch.tensor(9))
known = torch.arange(8)[:, None].expand(8, 8) < 4
others = complete(state.average, x[:4], known, draws=6, condition=labels[:4])
save(state.average, "digits.safetensors")
"""

MISTAKES = """
from nextpixel import GatedPixelCNN, PixelCNN
PixelCNN(levls=4)
GatedPixelCNN(levels="4")
"""


def complaints(folder: Path, program: str) -> list[str]:
    api = pytest.importorskip("mypy.api")
    (folder / "program.py").write_text(program, encoding="utf-8")
    options = ["--strict", "--config-file=", f"--cache-dir={folder / 'cache'}"]
    output, _, _ = api.run([*options, str(folder / "program.py")])
    return [line for line in output.splitlines() if ": error:" in line]


def test_a_program_is_checked_against_the_library(tmp_path: Path) -> None:
    assert complaints(tmp_path, PROGRAM) == []
    unknown, wrong = complaints(tmp_path, MISTAKES)
    assert '"levls" for "PixelCNN"' in unknown
    assert '"levels" to "GatedPixelCNN" has incompatible type "str"' in wrong
