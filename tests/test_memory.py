"""How much memory a score holds at once."""

import re
import subprocess
import sys

import pytest
import torch
from cases import build, conditions, images

from nextpixel import GatedPixelCNN
from nextpixel.models.core import rows_per_pass
from nextpixel.scoring import entropy_map

_SCORE = """
import re, torch
from nextpixel import DiagonalBiLSTM, GatedPixelCNN, MapCondition, MultiScale, score
torch.set_num_threads(1)
model = {model}
score(model, torch.zeros(1, 1, 8, 8, dtype=torch.int64))
def megabytes(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = megabytes("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
score(model, torch.zeros({images}, 1, {side}, {side}, dtype=torch.int64))
print("held", megabytes("VmHWM") - before)
"""

_GATED = "GatedPixelCNN(levels=2, features=8, layers={layers}, kernel_size=3)"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("model", "images", "side"),
    [
        (_GATED.format(layers=60), 1500, 28),
        (_GATED.format(layers=60), 1, 1024),
        ("GatedPixelCNN(levels=8192, features=8, layers=1, kernel_size=3)", 40, 32),
        ("DiagonalBiLSTM(levels=2, features=64, layers=1)", 1500, 28),
        (
            f"MultiScale(small={_GATED.format(layers=30)},"
            " large=GatedPixelCNN(levels=2, features=8, layers=30,"
            " condition=MapCondition(1, scale=2, levels=2)))",
            1500,
            28,
        ),
    ],
    ids=["deep", "large", "levels", "diagonal", "scales"],
)
def test_a_score_holds_less_than_a_gigabyte(model: str, images: int, side: int) -> None:
    """Before passes were planned by all maps: 6.9 GB for 2,000 binary digits."""
    script = _SCORE.format(model=model, images=images, side=side)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = re.search(r"held ([\d.]+)", ran.stdout)
    assert found is not None
    assert float(found[1]) < 1000


@pytest.mark.parametrize("layers", [8, 80])
def test_a_pass_counts_the_maps_of_all_layers(layers: int) -> None:
    """A Gated PixelCNN holds 2F maps of every layer for its horizontal stack."""
    model = GatedPixelCNN(levels=2, features=48, layers=layers)
    held = rows_per_pass(model, 1, 28) * 28 * 2 * 48 * layers * 4
    assert 2**28 < held <= 2**29


@pytest.mark.parametrize("name", ["gated-rgb", "gated-logistic", "multi-scale"])
@torch.no_grad()
def test_entropies_are_those_of_the_distributions(name: str) -> None:
    model = build(name)
    x, given = images(model, 2, (4, 3)), conditions(model, 2, (4, 3))
    distribution = model(x, given)
    pmf = [distribution.log_pmf(x, channel).exp() for channel in range(model.channels)]
    entropy = torch.stack([-(p * p.log()).sum(dim=1) for p in pmf], dim=1)
    torch.testing.assert_close(entropy_map(model, x, given), entropy, rtol=1e-9, atol=1e-9)
