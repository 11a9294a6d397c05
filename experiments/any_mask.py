"""What particles mend, and what they cannot: completions by one walker and by 32.

    python experiments/any_mask.py

Writes docs/figures/any_mask_digits.png and any_mask_photograph.png. A row for a scratch, a block
and a hidden upper half: the original, what the model is given, three draws by one walker, three by
32; seed 0, not chosen. Prints effective numbers of walkers and log-probabilities in nats, and
writes them to experiments/results/any_mask.json. The digits are drawn from the model itself. The
photograph is `china.jpg` of scikit-learn, by danielbuechele, CC BY 2.0, averaged to a quarter; the
model has never seen it. One thread: half a minute.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write
from plots import framed
from sklearn.datasets import load_sample_image
from torch import Tensor

from nextpixel import complete_with_evidence, load, sample, score
from nextpixel.data.image_files import grid
from nextpixel.models.core import ImageModel

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
DRAWS = 3


def main() -> None:
    """Draws both pictures."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    model = load("mnist-gated-pixel-cnn")
    digits = sample(model, 3, (28, 28), generator=torch.Generator().manual_seed(0))
    results = {"digits": draw("digits", model, digits, block=8, width=1, enlarge=2)}
    photograph = torch.from_numpy(load_sample_image("china.jpg")[:424].copy()).double()
    small = photograph.view(106, 4, 160, 4, 3).mean(dim=(1, 3)).round().long().permute(2, 0, 1)
    crop = small[:, 30:78, 50:98]
    three, model = crop.expand(3, -1, -1, -1), load("patches")
    results["photograph"] = draw("photograph", model, three, block=12, width=2, enlarge=2)
    write("any_mask", results)


def masks(side: int, block: int, width: int) -> dict[str, Tensor]:
    """Where an image is known, (side, side)."""
    scratch, hole = torch.ones(2, side, side, dtype=torch.bool)
    rows = torch.arange(side)
    for columns in (rows // 2 + 3, side - 5 - rows // 3):
        for beside in range(width):
            scratch[rows, columns + beside] = False
    begin = (side - block) // 2
    hole[begin : begin + block, begin : begin + block] = False
    lower = rows[:, None].expand(side, side) >= side // 2
    return {"scratch": scratch, "block": hole, "upper half": lower}


def draw(
    name: str, model: ImageModel, images: Tensor, *, block: int, width: int, enlarge: int
) -> dict[str, dict[str, Any]]:
    """A row for each mask; the figures of its draws by numbers of walkers."""
    rows, results = [], {}
    for x, (what, known) in zip(images, masks(images.shape[3], block, width).items(), strict=True):
        row = [x, torch.where(known, x, model.levels // 2)]
        for particles in (1, 32):
            found = complete_with_evidence(
                model,
                x[None],
                known,
                draws=DRAWS,
                particles=particles,
                generator=torch.Generator().manual_seed(0),
            )
            row += list(found.images[0])
            whole = score(model, found.images[0]).tolist()
            nats = found.log_evidence[0]
            results.setdefault(what, {})[str(particles)] = {
                "effective": found.effective[0].tolist(),
                "log_known": nats.tolist(),
                "mean_log_known": float(nats.mean()),
                "range_of_log_known": float(nats.max() - nats.min()),
            }
            print(
                f"{name}, {what}, {particles} walkers: effective",
                " ".join(f"{number:.1f}" for number in found.effective[0].tolist()),
                "| log p(known)",
                " ".join(f"{nats:.1f}" for nats in found.log_evidence[0].tolist()),
                "| log p(completed)",
                " ".join(f"{nats:.1f}" for nats in whole),
                f"| original {float(score(model, x[None])):.1f}",
            )
        rows.append(torch.stack(row))
    shown = torch.cat(rows).numpy().astype(np.int64)
    path = FOLDER / f"any_mask_{name}.png"
    sheet = grid(shown, columns=2 + 2 * DRAWS, levels=model.levels, scale=enlarge)
    columns = (("original", 1), ("given", 1), ("one walker", DRAWS), ("32 walkers", DRAWS))
    framed(sheet, path, rows=("scratch", "block", "upper half"), columns=columns)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return results


if __name__ == "__main__":
    main()
