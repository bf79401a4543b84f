"""Copy tables into the pages that have markers for them, between these; `--check` only says whether they are there.

Those of benchmarks are written by benchmarks/markdown.py.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/performance.md", "docs/comparison.md", "docs/glue.md", "docs/vision.md", "docs/scaling.md")
BLOCK = re.compile(r"(<!-- from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(readme: str, root: Path) -> str:
    """The page with the content of each file that a marker names between its markers."""

    def block(match: re.Match[str]) -> str:
        file = root / match[2]
        if not file.is_file():
            sys.exit(f"{match[2]} is not there; `make reproduce` makes it, or `make bench`")
        return f"{match[1]}\n{file.read_text(encoding='utf-8').strip()}\n\n{match[3]}"

    return BLOCK.sub(block, readme)


def main() -> None:
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = filled(before, ROOT)
        if "--check" not in sys.argv[1:]:
            page.write_text(after, encoding="utf-8")
        elif after != before:
            sys.exit(f"{name}: a table is not what its file has; run `.venv/bin/python benchmarks/readme.py`")


if __name__ == "__main__":
    main()
