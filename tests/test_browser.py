"""The report in Chromium: it is clicked, typed at and read as people do; nothing leaves it, and nothing in data runs.

REDISTILL_BROWSER=all presses every number and looks at every tab. CHROMIUM names another browser than the one found.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hostile_study import BAD_WORDS, hostile_study
from published_study import STUDY

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
EVERYTHING = os.environ.get("REDISTILL_BROWSER") == "all"
TIMEOUT = 30_000  # milliseconds that any one thing may take
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: `apt-get install chromium`"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed: `make setup` does"),
    pytest.mark.skipif(find_spec("vl_convert") is None, reason="vl-convert-python is not installed: `make setup` does"),
]
LISTEN = """
window.__violations = [];
document.addEventListener('securitypolicyviolation',
  (e) => window.__violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose study's texts all try to be more than text, with its report."""
    from redistill.report.write import write

    root = hostile_study(tmp_path_factory.mktemp("browser") / "project")
    write(root, STUDY)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser: Any, address: str, **how: Any) -> Iterator[Any]:
    """A page with its report drawn; at its end, nothing went wrong in it and nothing was asked for elsewhere."""
    context = browser.new_context(**how)
    context.set_default_timeout(TIMEOUT)
    page, wrong = context.new_page(), list[str]()
    own = address.rpartition("/")[0]
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"alert {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: wrong.append(request.url) if not request.url.startswith((own, "data:", "blob:")) else None,
    )
    page.add_init_script(LISTEN)
    page.goto(address)
    page.wait_for_selector("html[data-drawn]")
    yield page
    assert page.evaluate("window.__violations") == []
    assert wrong == []
    context.close()


@pytest.fixture
def page(browser: Any, project: Path) -> Iterator[Any]:
    with opened(browser, (project / "results" / STUDY / "report.html").as_uri()) as page:
        yield page


def until(page: Any, holds: Callable[[], bool]) -> None:
    """Wait until something holds. The page's policy forbids to evaluate it there, over and over."""
    for _ in range(TIMEOUT // 100):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never came to be so")


def numbers(page: Any, selector: str) -> list[float]:
    return [float(text) for text in page.locator(selector).all_inner_texts()]


def test_headings_sort(page: Any) -> None:
    shown = "#table-0-grid tbody tr .mean"
    before = numbers(page, shown)
    heading = page.locator("#table-0-grid thead th").last
    for order, expected in (
        ("descending", sorted(before, reverse=True)),
        ("ascending", sorted(before)),
        ("none", before),
    ):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == order
        assert numbers(page, shown) == expected
    page.locator("#table-0-grid thead th button").first.focus()
    page.keyboard.press("Enter")
    names = page.locator("#table-0-grid tbody th").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    assert "Sorted by row" in page.locator("#said").inner_text()


def test_rows_are_filtered_by_words(page: Any) -> None:
    page.fill('input[data-filters="table-0-grid"]', "TAUGHT distilled")
    assert page.locator("#table-0-grid tbody tr:visible").count() == 1
    assert page.locator("#table-0-grid-count").inner_text() == "1 of 4 rows"
    page.fill('input[data-filters="table-0-grid"]', "")
    assert page.locator("#table-0-grid tbody tr:visible").count() == 4


def test_a_number_opens_and_closes_by_keyboard_and_focus_returns(page: Any) -> None:
    button = page.locator("#table-0-grid button[data-cell]").last
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel table")
    assert page.locator("#opened-title").inner_text() == "Taught · Marks"
    page.locator("#tab-0").focus()
    for name in ("Curves", "Config"):
        page.keyboard.press("ArrowRight")
        assert page.locator('[role="tab"][aria-selected="true"]').inner_text() == name
    assert "stages.0.loss.soft.method" in page.locator("#panel").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#opened").is_visible()
    assert page.evaluate("document.activeElement.dataset.cell") == button.get_attribute("data-cell")


def test_the_rows_beside_are_a_press_away_and_an_address_names_a_number(page: Any) -> None:
    page.locator("#table-0-grid button[data-cell]").last.click()
    page.wait_for_selector("#panel table")
    page.click("#above")
    until(page, lambda: page.locator("#opened-title").inner_text().startswith("Plain"))
    address = page.url
    assert "#cell&pictures&plain&marks" in address
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#panel table")
    assert page.locator("#opened-title").inner_text() == "Plain · Marks"
    page.wait_for_selector("html[data-drawn]")


def test_pictures_are_drawn_and_follow_what_is_chosen(page: Any) -> None:
    for name in ("bars", "pairs", "making"):
        assert page.locator(f'figure[data-draws="{name}"] .chart svg').count() >= 1, name
    assert page.locator("figure .dag svg.graph").count() == 1
    before = page.locator('figure[data-draws="pairs"] svg').inner_html()
    box = page.locator('figure[data-draws="pairs"] select')
    box.select_option(index=1)
    until(page, lambda: page.locator('figure[data-draws="pairs"] svg').inner_html() != before)


def test_every_tab_shows_something_and_nothing_in_data_runs(page: Any) -> None:
    """Behind numbers of texts whose classes, labels, titles, licences and texts are scripts."""
    cells = page.locator("button[data-cell]")
    for place in range(cells.count()) if EVERYTHING else (2, 3, 6):
        cells.nth(place).click()
        for tab in range(7):
            page.click(f"#tab-{tab}")
            until(page, lambda: len(page.locator("#panel").inner_text()) > 20)
            assert "could not" not in page.locator("#panel").inner_text()
        page.keyboard.press("Escape")
    assert page.locator("img[onerror], [onmouseover]").count() == 0
    assert page.evaluate("[...document.links].every((a) => /^(https?|file):/.test(a.href))")


def test_bad_words_are_seen_as_they_are(page: Any) -> None:
    page.locator("#table-1-grid button[data-cell]").last.click()
    page.click("#tab-4")
    page.wait_for_selector(".example")
    text = page.locator("#opened").inner_text()
    assert sum(word in text for word in BAD_WORDS) >= 2
    page.click("#tab-3")
    page.wait_for_selector("#panel svg")
    page.hover("#panel svg path >> nth=0", force=True)


def test_it_is_dark_where_people_want_that_and_light_in_print(browser: Any, project: Path) -> None:
    address = (project / "results" / STUDY / "report.html").as_uri()
    colour = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, address) as light, opened(browser, address, color_scheme="dark") as dark:
        assert light.evaluate(colour) == "rgb(255, 255, 255)"
        assert dark.evaluate(colour) != light.evaluate(colour)
        dark.emulate_media(media="print")
        assert dark.evaluate(colour) == "rgb(255, 255, 255)"
        assert not dark.locator("nav").is_visible()


def test_a_narrow_window_does_not_scroll_sideways(browser: Any, project: Path) -> None:
    address = (project / "results" / STUDY / "report.html").as_uri()
    with opened(browser, address, viewport={"width": 390, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, project: Path, scheme: str) -> None:
    rules = find_spec("axe_playwright_python")
    if rules is None or rules.origin is None:
        pytest.skip("axe-playwright-python is not installed: `make setup` does")
    axe = (Path(rules.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    address = (project / "results" / STUDY / "report.html").as_uri()
    with opened(browser, address, color_scheme=scheme) as page:
        page.evaluate(axe)
        found = [("page", one) for one in page.evaluate("axe.run(document)")["violations"]]
        page.locator("#table-1-grid button[data-cell]").last.click()
        for tab in range(7) if EVERYTHING else (0, 4):
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(300)
            found += [
                (f"tab {tab}", one) for one in page.evaluate("axe.run(document.querySelector('#opened'))")["violations"]
            ]
    serious = [
        (where, one["id"], one["nodes"][0]["html"]) for where, one in found if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_as_pages_it_works_from_a_server(browser: Any, project: Path, tmp_path: Path) -> None:
    from redistill.report.write import write

    write(project, STUDY, folder=tmp_path / "site")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with opened(browser, f"http://127.0.0.1:{server.server_port}/index.html") as page:
            page.locator("button[data-cell]").last.click()
            page.wait_for_selector("#panel table")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
