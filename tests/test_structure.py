"""Imports point one way, and every module says what it offers."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import nextpixel

ROOT = Path(nextpixel.__file__).parent

# The rooms of the house, from the ground up: each may import those in earlier lines, and its own
# line.
ORDER = [
    ["errors", "version", "tracing", "conditions", "cache", "devices", "front"],
    ["settings"],
    ["files", "layers"],
    ["models"],
    ["plan", "scoring", "checkpoint"],
    ["walk"],
    ["sampling", "autoencoding"],
    ["data"],
    ["codec"],
    ["training"],
    ["analysis"],
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
