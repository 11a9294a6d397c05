"""Writes the tables of README.md, experiments/README.md and the pages of docs, and checks numbers.

They come from experiments/results/*.json, and from what the models that come with nextpixel say of
themselves.

    python experiments/tables.py            writes them
    python experiments/tables.py --check    exits with 1 if they are not what the files say, or if a
                                            number in the prose is not (`marks`)

A table stands between <!-- table NAME --> and <!-- end -->.
"""

import argparse
import re
import sys
from pathlib import Path

import marks
from page_tables import TABLES

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES = (
    HERE / "README.md",
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "docs" / "index.md",
    *sorted(
        page
        for part in (
            "start",
            "guides",
            "concepts",
            "results",
            "decisions",
            "reference",
            "notebooks",
        )
        for page in (ROOT / "docs" / part).glob("*.md")
    ),
)


def shown(name: str) -> str:
    """A table, or that its experiment has not written its results yet."""
    try:
        return TABLES[name]()
    except FileNotFoundError:
        return "Not finished yet."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check, wrong = parser.parse_args().check, []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = re.sub(
            r"(<!-- table (\w+) -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}{shown(match[2])}\n{match[3]}",
            text,
            flags=re.DOTALL,
        )
        if check and new != text:
            sys.exit(
                f"{page.name} does not show what the results say: run python experiments/tables.py"
            )
        wrong += [f"{page.relative_to(ROOT)}, {sentence}" for sentence in marks.check(new)]
        page.write_text(new, encoding="utf-8")
    if check and wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
