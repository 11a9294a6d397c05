r"""Sphinx configuration: Markdown pages and notebooks, the API from docstrings, MathML formulas.

The notebooks of docs/notebooks are Markdown, too, and run while the pages are built: on one thread,
from the beginning, and an error in one is an error of `make docs`.

Formulas become MathML while the pages are built, with the translator that docutils contains. Every
current browser shows MathML itself, so neither building nor reading needs a network, JavaScript or
TeX. A formula that the translator does not know is a warning, hence an error of `make docs`: write
`aligned` in place of `align`, and `\operatorname{name}` for a new operator.
"""

import os
import pkgutil
from html import escape
from importlib import import_module
from importlib.metadata import version as installed_version
from io import StringIO
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from rich.console import Console
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.math import get_node_equation_number

project = "nextpixel"
author = "the nextpixel authors"
copyright = author
version = release = installed_version("nextpixel")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 4

# Two threads of a notebook on a busy machine can be ten times slower than one.
# A backend without a screen, as in tests, would keep figures out of the notebooks.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("MPLBACKEND", None)
nb_execution_mode = "force"
nb_execution_timeout = 150
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_number_source_lines = False

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False

# pytest runs the examples of the docstrings; Sphinx runs those of the pages, which stand in doctest
# blocks.
doctest_test_doctest_blocks = ""
doctest_global_setup = "import torch; torch.manual_seed(0)"

html_theme = "furo"
html_title = "nextpixel"
html_math_renderer = "mathml"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]


class Modules(SphinxDirective):
    """A section for each named module, and for the other modules of each named package."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The sections of modules with public names, in the order given, then of their names."""
        names: list[str] = []
        for name in "\n".join(self.content).split():
            module = import_module(name)
            if hasattr(module, "__path__"):
                found = pkgutil.iter_modules(module.__path__, f"{name}.")
                inside = sorted(each.name for each in found if not each.ispkg)
                names += [each for each in inside if each not in names and "__" not in each]
            else:
                names.append(name)
        return [
            self.section(name) for name in names if getattr(import_module(name), "__all__", None)
        ]

    def section(self, name: str) -> nodes.section:
        """A module's docstring and members under its name."""
        section = nodes.section(ids=[nodes.make_id(name)])
        section += nodes.title("", "", nodes.literal("", name))
        module = import_module(name)
        elsewhere = [
            n for n in module.__all__ if getattr(getattr(module, n), "__module__", name) != name
        ]
        text = [f".. automodule:: {name}", f"   :exclude-members: {', '.join(elsewhere)}"]
        lines = StringList(text, source=self.get_source_info()[0])
        self.state.nested_parse(lines, 0, section)
        return section


class Commands(SphinxDirective):
    """What `nextpixel COMMAND --help` prints, for every command."""

    def run(self) -> list[nodes.Node]:
        """A section for each command."""
        from nextpixel.cli.app import app

        sections: list[nodes.Node] = []
        for name in sorted(str(name) for name in app if not str(name).startswith("-")):
            if not app[name].show:
                continue
            printed = StringIO()
            console = Console(file=printed, width=88, no_color=True, highlight=False)
            app.help_print([name], console=console)
            section = nodes.section(ids=[nodes.make_id(f"nextpixel-{name}")])
            section += nodes.title("", "", nodes.literal("", f"nextpixel {name}"))
            text = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
            section += nodes.literal_block(text, text, language="text", classes=["help"])
            sections.append(section)
        return sections


def mathml(node: nodes.math | nodes.math_block, *, as_block: bool) -> str:
    """The formula as MathML, or its TeX and a warning where the translator does not know it."""
    tex = node.astext()
    try:
        return tex2mathml(tex, as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning(
            "formula not understood: %s in %r", error, tex, location=node
        )
        return f"<code>{escape(tex)}</code>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on its own line, with its number if it has a label."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(mathml(node, as_block=True))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives of the reference, and the MathML renderer."""
    app.add_directive("modules", Modules)
    app.add_directive("commands", Commands)
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
