"""Makes a trained model one that comes with nextpixel: its best weights, and a card of what it is.

    python experiments/publish.py runs/fashion-class fashion-mnist FASHION.npz --about "…" --data-terms "MIT"

Evaluates the weights on all of the data set's test split and writes nextpixel/pretrained/NAME.safetensors, without the
paths of the machine that made them. `nextpixel info NAME` prints the card; `python experiments/tables.py` puts all of
them on the page docs/models.md.
"""

import argparse
from pathlib import Path

from common import said

import nextpixel
from nextpixel import load, save
from nextpixel.checkpoint import read_metadata

FOLDER = Path(nextpixel.__file__).parent / "pretrained"
OWN = ("format", "version", "model", "config")
LARGEST = 5_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("data")
    parser.add_argument("--about", required=True, help="what it draws, in one line")
    parser.add_argument("--data-terms", required=True, help="the licence of the data, and whom to credit")
    arguments = parser.parse_args()
    extra = {key: value for key, value in read_metadata(arguments.run).items() if key not in OWN}
    test = said("evaluate", str(arguments.run), "--data", arguments.data)
    extra["source"] = Path(extra["source"]).name
    extra["data"] = {
        key: Path(value).name if isinstance(value, str) and "/" in value else value
        for key, value in extra["data"].items()
    }
    card = {"about": arguments.about, "data_terms": arguments.data_terms, "test": test}
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{arguments.name}.safetensors"
    save(load(arguments.run), path, extra=card | extra)
    size = path.stat().st_size
    assert size <= LARGEST, f"{path.name} has {size:,} bytes; at most {LARGEST:,} come with nextpixel"
    print(f"{path.name}: {size / 1e6:.2f} MB, test {test['bits_per_dim']:.4f} bits/dim")


if __name__ == "__main__":
    main()
