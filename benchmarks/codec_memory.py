"""The most memory that compress and decompress take for one picture, as processes of their own.

    python benchmarks/codec_memory.py kodim11.png [--model photographs] [--write]

`info` of the same model tells what Python, torch and the weights take alone. Megabytes are 10^6
bytes of `ru_maxrss`. This program itself loads nothing, because a child's figure begins with that
of its parent.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESULT = Path(__file__).parent.parent / "experiments" / "results" / "codec_memory.json"
_UNIT = 1 if sys.platform == "darwin" else 1024


def megabytes(*words: str) -> float:
    """The most that a command takes."""
    command = [sys.executable, "-m", "nextpixel", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return round(usage.ru_maxrss * _UNIT / 1e6)


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture")
    parser.add_argument("--model", default="photographs")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {RESULT.name}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive, out = f"{folder}/a.npx", f"{folder}/out"
        found = {
            "info": megabytes("info", arguments.model),
            "compress": megabytes(
                *("compress", arguments.picture, "--model", arguments.model, "--out", archive)
            ),
            "decompress": megabytes("decompress", archive, "--out", out),
        }
    print(json.dumps(found))
    if arguments.write:
        kept = {"picture": Path(arguments.picture).name, "model": arguments.model}
        RESULT.write_text(json.dumps(kept | {"megabytes": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
