"""What the README shows works as it stands."""

import re
import subprocess
import sys
import tomllib
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


def test_the_page_of_the_package_has_no_picture_and_no_broken_link() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    page = README.read_text(encoding="utf-8")
    for change in hook["substitutions"]:
        page = re.sub(change["pattern"], change["replacement"], page)
    assert "![" not in page and "pictures -->" not in page and "The gallery has" not in page
    assert not re.findall(r"\]\((?!https?:)", page)
    assert "Documentation · Contributing · Changes" in page
