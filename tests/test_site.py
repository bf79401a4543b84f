"""The docs are built as a site, strictly: what Sphinx warns of, such as a link that leads nowhere, fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nano_study import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", folder / "cache",
               ROOT / "docs", folder / "html"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file()
        assert page.stem == "index" or f'href="{page.stem}.html"' in home, page.name


def test_the_site_asks_for_nothing_outside(site: Path) -> None:
    """Fonts, scripts, styles and pictures come with it, so that it can be read offline."""
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]* rel=\"(?:stylesheet|icon|preload|preconnect)\"[^>]* href=\"([^\"]+)\"", text)
        assert [one for one in loaded if "//" in one] == [], page.name


def test_the_reference_of_python_has_what_the_package_names(site: Path) -> None:
    import redistill

    page = (site / "api.html").read_text(encoding="utf-8")
    for name in set(redistill.__all__) - {"__version__"}:
        assert f"redistill.{name}" in page or f"redistill.api.{name}" in page, name
    assert "Rows by columns" in page or "rows by their names" in page
