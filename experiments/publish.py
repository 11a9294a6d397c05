"""Copies the best weights of a run to where pretrained models are, without the paths of the machine that made them.

python experiments/publish.py runs/fashion-class fashion-mnist --about "Fashion-MNIST by class (MIT licence)"
"""

import argparse
from pathlib import Path

import nextpixel
from nextpixel import load, save
from nextpixel.checkpoint import read_metadata

FOLDER = Path(nextpixel.__file__).parent / "pretrained"
OWN = ("format", "version", "model", "config")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--about", required=True)
    arguments = parser.parse_args()
    extra = {key: value for key, value in read_metadata(arguments.run).items() if key not in OWN}
    extra["source"] = Path(extra["source"]).name
    extra["data"] = {
        key: Path(value).name if isinstance(value, str) and "/" in value else value
        for key, value in extra["data"].items()
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{arguments.name}.safetensors"
    save(load(arguments.run), path, extra=extra | {"about": arguments.about})
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
