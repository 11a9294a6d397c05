"""Imports point one way, and every module says what it offers."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import nextpixel

ROOT = Path(nextpixel.__file__).parent

# The rooms of the house, from the ground up: each may import those in earlier lines, and its own
# line.
ORDER = [
    [
        "errors",
        "version",
        "arguments",
        "tracing",
        "conditions",
        "cache",
        "devices",
        "front",
        "orders",
    ],
    ["settings"],
    ["files", "layers"],
    ["models"],
    ["border"],
    ["steps"],
    ["plan", "turning", "checkpoint"],
    ["scoring"],
    ["walk", "particles", "lane_laws"],
    ["filling"],
    ["completing"],
    ["sampling", "autoencoding"],
    ["data"],
    ["codec"],
    ["training"],
    ["analysis"],
    ["testing"],
    ["inference"],
    ["papers"],
    ["cli"],
    ["demo", "__main__"],
]


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name, parsed."""
    paths = [path for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in paths
    }


def imported(tree: ast.Module) -> set[str]:
    """The modules of ours that a module imports, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nextpixel"):
            module = node.module.removeprefix("nextpixel").removeprefix(".")
            names |= {module} | {f"{module}.{alias.name}".removeprefix(".") for alias in node.names}
    return {name for name in names if name and (ROOT / (name.replace(".", "/") + ".py")).exists()}


def test_imports_point_one_way() -> None:
    level = {room: k for k, rooms in enumerate(ORDER) for room in rooms}
    arrows = {name: imported(tree) for name, tree in modules().items()}
    assert {name.partition(".")[0] for name in arrows} == level.keys()
    backwards = [
        (name, other)
        for name, others in arrows.items()
        for other in others
        if level[other.partition(".")[0]] > level[name.partition(".")[0]]
    ]
    assert not backwards
    TopologicalSorter(arrows).prepare()  # raises on a circle


def test_every_module_lists_its_names_and_public_names_exist() -> None:
    for name, tree in modules().items():
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        names = [
            target.id
            for node in assigned
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        assert "__all__" in names or name == "__main__", name
        assert ast.get_docstring(tree), name
    for name in nextpixel.__all__:
        assert getattr(nextpixel, name) is not None


def test_public_names_are_listed_before_their_first_use() -> None:
    code = """
import sys, nextpixel
assert set(nextpixel.__all__) < set(dir(nextpixel)) and "torch" not in sys.modules
from nextpixel.walk import walk  # a module of the same name, which Python binds to the package
assert nextpixel.walk is walk and nextpixel.fronts is sys.modules["nextpixel.walk"].fronts
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_what_the_pages_import_is_public() -> None:
    pages = [*(ROOT.parent / "docs").rglob("*.md"), ROOT.parent / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.exists())
    imports = re.findall(r"^(?:>>> )?from (nextpixel[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)
    used = {(module, name) for module, names in imports for name in names.split(", ")}
    used |= {("nextpixel", name) for name in re.findall(r"`nextpixel\.(\w+)\(", text)}
    assert len(used) > 30
    for module, name in used:
        assert name in import_module(module).__all__, f"{module}.{name}"
