"""What the README shows works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example.replace("steps=500", "steps=5"), str(README), "exec"), {})
    assert (tmp_path / "digits.safetensors").exists()


def test_its_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert len(targets) > 5
    assert all((README.parent / target).exists() for target in targets if "://" not in target)


def test_the_tables_show_what_the_results_say() -> None:
    script = ROOT / "experiments" / "tables.py"
    if not script.exists():
        pytest.skip("the experiments are not part of this distribution")
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
