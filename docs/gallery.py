"""The pictures of the gallery and of the landing page, drawn from models and not chosen.

    python docs/gallery.py                                   what needs no data set
    python docs/gallery.py --fashion FILE --emoji FILE       what needs test pictures, too
    python docs/gallery.py --sprites RUN                     samples of your own run of the sprites

Writes into docs/figures. Every generator starts at seed 0, and the first pictures drawn are the
ones shown. FILE is the `.npz` file that experiments/README.md describes. One thread: about five
minutes for all of it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from figures import FOLDER, save, sheet
from matplotlib import pyplot
from torch import Tensor

from nextpixel import complete, load, load_data, sample
from nextpixel.checkpoint import read_card
from nextpixel.data.image_files import grid
from nextpixel.scoring import log_prob_map
from nextpixel.settings.preparation import Preparation

sys.path.append(str(Path(__file__).parents[1] / "experiments"))

from plots import framed  # noqa: E402

LEVELS = 16
FAMILIES, FEW = ("mnist", "mnist-row-lstm", "mnist-pixel-cnn", "mnist-gated-pixel-cnn"), 14
SIDE = {"fashion-mnist": 28, "mnist": 28, "emoji": 32}


def main() -> None:
    """Draws what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fashion", help="Fashion-MNIST as .npz")
    parser.add_argument("--emoji", help="emoji as .npz")
    parser.add_argument("--sprites", help="a run folder")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    matplotlib.use("Agg")
    if chosen.fashion:
        completions("fashion-mnist", chosen.fashion, pictures=5)
        likelihood_map(chosen.fashion)
    if chosen.emoji:
        completions("emoji", chosen.emoji, pictures=6, background=180)
    if chosen.sprites:
        drawn = of_classes(chosen.sprites, 32, classes=range(9), each=10)
        names = read_card(chosen.sprites).classes
        show(drawn, "sprites_samples.png", background=0, rows=names)
    if not (chosen.fashion or chosen.emoji or chosen.sprites):
        for name, side, background in (("fashion-mnist", 28, 255), ("emoji", 32, 180)):
            drawn = of_classes(name, side, classes=range(10), each=10)
            path, names = f"{name.split('-')[0]}_samples.png", read_card(name).classes
            show(drawn, path, background=background, rows=names)
        digits = sample(load("mnist"), 40, (28, 28), generator=torch.Generator().manual_seed(0))
        show(digits, "mnist_samples.png", levels=2)
        families()


def of_classes(name: str, side: int, *, classes: Sequence[int], each: int) -> Tensor:
    """Draws images of every class in turn."""
    condition = torch.tensor(classes).repeat_interleave(each)
    generator = torch.Generator().manual_seed(0)
    return sample(
        load(name), len(condition), (side, side), condition=condition, generator=generator
    )


def families() -> None:
    """Draws digits of all models of binary MNIST."""
    drawn = []
    for name in FAMILIES:
        generator = torch.Generator().manual_seed(0)
        drawn.append(sample(load(name), FEW, (28, 28), generator=generator))
    path, columns = "mnist_families.png", (("", FEW),)
    show(torch.cat(drawn), path, rows=FAMILIES, columns=columns, levels=2)


def completions(
    name: str, source: str, *, pictures: int, draws: int = 8, background: int = 255
) -> None:
    """A test picture in each row, what the model is given of it, and completions of the rest."""
    test = load_data(source, Preparation(levels=LEVELS)).test
    places = np.linspace(0, len(test) - 1, pictures).astype(int)
    x = torch.from_numpy(np.asarray(test.images)[places]).long()
    labels = torch.from_numpy(np.asarray(test.labels)[places]).long()
    side = SIDE[name]
    known = torch.arange(side)[:, None].expand(side, side) < side // 2
    drawn = complete(
        load(name),
        x,
        known,
        draws=draws,
        condition=labels,
        generator=torch.Generator().manual_seed(0),
    )
    given = torch.where(known, x, LEVELS // 2)
    rows = torch.cat([x[:, None], given[:, None], drawn], dim=1)
    path = f"{name.split('-')[0]}_completions.png"
    columns = (("original", 1), ("given", 1), ("completions", draws))
    show(rows.flatten(0, 1), path, columns=columns, background=background)


def likelihood_map(source: str) -> None:
    """Test images of Fashion-MNIST, and the bits that the model spends on each pixel."""
    test = load_data(source, Preparation(levels=LEVELS)).test
    x = torch.from_numpy(np.asarray(test.images[:8])).long()
    labels = torch.from_numpy(np.asarray(test.labels[:8])).long()
    bits = -log_prob_map(load("fashion-mnist"), x, labels)[:, 0] / math.log(2)
    figure, axes = pyplot.subplots(2, 1, figsize=(7.2, 2.0), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.0)  # type: ignore[union-attr, call-arg]
    axes[0].imshow(sheet(x[:, 0], 8), cmap="gray", vmin=0, vmax=LEVELS - 1)
    shown = axes[1].imshow(sheet(bits, 8), cmap="viridis", vmin=0, vmax=6)
    figure.colorbar(shown, ax=list(axes), shrink=0.9, extend="max", label="bits")
    for axis in axes:
        axis.axis("off")
    save(figure, "fashion_map.png")


def show(
    images: Tensor,
    name: str,
    *,
    rows: Sequence[str] = (),
    columns: Sequence[tuple[str, int]] = (("", 10),),
    levels: int = LEVELS,
    background: int = 255,
) -> None:
    """Writes a grid at twice the size, with names, and tells how large the file is."""
    path, count = Path(FOLDER) / name, sum(number for _, number in columns)
    sheet = grid(images.numpy(), columns=count, levels=levels, scale=2, background=background)
    framed(sheet, path, rows=rows, columns=columns)
    print(f"{name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
