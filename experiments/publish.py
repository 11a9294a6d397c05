"""Make a pretrained model of a run: write its weights and card.

    python experiments/publish.py fashion-mnist FASHION.npz

Evaluates the best weights on all of the data set's test split and writes
nextpixel/pretrained/NAME.safetensors, without the paths of the machine that made them. `nextpixel
info NAME` prints the card; `python experiments/tables.py` puts all of them on the page
docs/guides/pretrained.md.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from common import evaluated

import nextpixel
from nextpixel import load, save
from nextpixel.checkpoint import read_card

FOLDER = Path(nextpixel.__file__).parent / "pretrained"
LARGEST = 5_000_000


@dataclass(frozen=True)
class Published:
    """A model that comes with nextpixel.

    Attributes:
        run: its folder under runs/.
        about: what it draws, in one line.
        terms: the licence of the data, and whom to credit.
    """

    run: str
    about: str
    terms: str


MNIST_TERMS = (
    "MNIST, static binarisation of Salakhutdinov & Murray (2008); CC BY-SA 3.0 (LeCun & Cortes)"
)

MODELS = {
    # Those of `nextpixel reproduce`, for one who wants to compare the families.
    "mnist": Published("mnist-diagonal-bilstm-small", "handwritten digits, binary", MNIST_TERMS),
    "mnist-gated-pixel-cnn": Published(
        "mnist-gated-pixel-cnn-small", "handwritten digits, binary", MNIST_TERMS
    ),
    "mnist-pixel-cnn": Published(
        "mnist-pixel-cnn-small", "handwritten digits, binary", MNIST_TERMS
    ),
    "mnist-row-lstm": Published("mnist-row-lstm-small", "handwritten digits, binary", MNIST_TERMS),
    "fashion-mnist": Published(
        "fashion-class",  # class_conditional.py
        "clothes by class, in 16 levels of grey",
        "Fashion-MNIST (Xiao et al., 2017), MIT licence",
    ),
    "emoji": Published(
        "emoji",  # emoji.py
        "emoji by category, in 16 levels of each colour",
        "Twemoji, CC BY 4.0 (graphics by Twitter, Inc and other contributors)",
    ),
    # nextpixel train kodak --head logistic --linear-prediction --features 40 --layers 6
    # --kernel-size 5 --crop 48 --batch-size 16 --flip --channels 3 --minutes 96; pictures 1 to 10.
    # Then --from that run: --crop 64 --batch-size 10 --flip --learning-rate 0.006 --minutes 112.
    "photographs": Published(
        "photographs",
        "photographs, 256 levels; its test pictures, kodim11 and kodim12, also chose the weights",
        "Kodak Lossless True Color Image Suite, released by Kodak for unrestricted use",
    ),
    # nextpixel train patches32.npz --from the first of these two runs, as above: --batch-size 32
    # --learning-rate 0.006 --minutes 90.
    "patches": Published(
        "patches",
        "patches of photographs, 256 levels",
        "BSDS500 (Berkeley; non-commercial research and education) and photographs of Debian's"
        " wallpaper packages (CC BY, CC BY-SA, CC0, GPL-2+)",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("data")
    arguments = parser.parse_args()
    entry = MODELS[arguments.name]
    run = Path("runs") / entry.run
    test = evaluated(run, arguments.data)
    card = read_card(run)
    notes = {"about": entry.about, "data_terms": entry.terms, "test": test, **card.notes}
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{arguments.name}.safetensors"
    save(load(run), path, card=replace(card, notes=notes))
    size = path.stat().st_size
    assert size <= LARGEST, (
        f"{path.name} has {size:,} bytes; at most {LARGEST:,} come with nextpixel"
    )
    print(f"{path.name}: {size / 1e6:.2f} MB, test {test['bits_per_dim']:.4f} bits/dim")


if __name__ == "__main__":
    main()
