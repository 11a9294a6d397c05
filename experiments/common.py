"""What the experiments share: a run through the command line that goes on where it stopped, and
results as JSON.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nextpixel.checkpoint import load_trainable, read_card
from nextpixel.training.state import STATE

RESULTS = Path(__file__).parent / "results"


def trained(name: str, source: str, options: str) -> Path:
    """The run folder runs/NAME, trained as `nextpixel train SOURCE OPTIONS` would; a run that
    stopped goes on.
    """
    run = Path("runs") / name
    command = [sys.executable, "-m", "nextpixel", "train"]
    if (run / STATE).exists():
        command += ["--resume", str(run)]
    else:
        command += [source, "--out", str(run), *options.split()]
    subprocess.run([*command, "--quiet"], check=True)
    return run


def description(run: Path) -> dict[str, Any]:
    """What a run is: parameters, and the figures of its training."""
    return {
        "parameters": sum(p.numel() for p in load_trainable(run).parameters()),
        "training": read_card(run).to_json().get("training"),
    }


def said(*arguments: str) -> dict[str, Any]:
    """What a command prints with --json."""
    command = [sys.executable, "-m", "nextpixel", *arguments, "--json"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return printed | {"source": Path(printed["source"]).name}


def reproduced() -> list[dict[str, Any]]:
    """What `nextpixel reproduce` has written to experiments/results, by name."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    ]
    return [result for result in found if "recipe" in result]


def write(name: str, results: dict[str, Any]) -> None:
    """Keeps results in experiments/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
