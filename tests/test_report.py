"""The page of a study: what is in it, what is left out, and that whatever data says stays text in it."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hostile_study import BAD_WORDS, hostile_study
from published_study import STUDY, PublishedStudy, copied, publish_study

pytest.importorskip("altair", reason="altair is not installed: `make setup` does")
pytest.importorskip("vl_convert", reason="vl-convert-python is not installed: `make setup` does")

from redistill.errors import IntegrityError, RedistillError
from redistill.report import content, page
from redistill.report.cells import LEVELS
from redistill.report.content import Report, gather
from redistill.report.reading import Study, read
from redistill.report.write import write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("report") / "project", content=3)


@pytest.fixture(scope="module")
def study(made: PublishedStudy) -> Study:
    return read(made.root, STUDY)


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return gather(study)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return gather(read(hostile_study(tmp_path_factory.mktemp("hostile") / "project"), STUDY))


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


class Parsed(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inline.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.inline and self.elements[-1][0] in ("script", "style") and self.cdata_elem:
            tag, attributes, text = self.inline[-1]
            self.inline[-1] = (tag, attributes, text + data)


def test_only_its_own_scripts_and_styles_may_run(report: Report) -> None:
    parsed = Parsed(page.one_file(report))
    policy = next(a["content"] or "" for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    runs = [(tag, text) for tag, attributes, text in parsed.inline if "type" not in attributes]
    assert [tag for tag, _ in runs] == ["style", "script", "script"]
    for _, text in runs:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_nothing_in_it_asks_for_anything(report: Report) -> None:
    for tag, attributes in Parsed(page.one_file(report)).elements:
        assert not {"src", "srcset", "style", "action"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes)
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")


def test_what_data_says_is_text(hostile: Report) -> None:
    text = page.one_file(hostile)
    parsed = Parsed(text)
    for word in BAD_WORDS:
        if "<" in word or '"' in word:
            assert word not in text, word
    assert sum(tag == "script" and "type" not in a for tag, a, _ in parsed.inline) == 2
    assert not any(tag in ("img", "svg") for tag, _ in parsed.elements)
    links = [a["href"] or "" for tag, a in parsed.elements if tag == "a"]
    assert all(re.match(r"#|https?://", link) for link in links)
    everything = json.dumps([unpacked(part) for part in hostile.parts.values()], ensure_ascii=False)
    assert (
        sum(json.dumps(word, ensure_ascii=False)[1:-1] in everything for word in BAD_WORDS) >= 3
    )  # it got there, packed


def test_a_number_opens_what_is_behind_it(report: Report) -> None:
    number = next(
        c
        for c in report.overview["cells"]
        if report.overview["tables"][c["table"]]["rows"][c["row"]]["name"] == "taught"
    )
    shard = unpacked(report.parts[number["shard"]])
    cell = shard["cells"][number["at"]]
    assert cell["row"] == "taught"
    assert [run["seed"] for run in cell["runs"]] == ["0", "1"]
    assert all(run["score"] == pytest.approx(number["mean"], abs=0.5) for run in cell["runs"])
    assert ["stages.0.loss.soft.method", "", "kd"] in cell["differs"]
    assert cell["disagree"]["of"] == 60
    example = cell["disagree"]["examples"][0]
    assert shard["inputs"][f"{cell['disagree']['dataset']} {example['id']}"]["image"].startswith(
        "data:image/png;base64,"
    )
    things = unpacked(report.parts["things"])
    assert cell["key"] in things
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for _, _, digest, _, _ in things.values())


def test_published_numbers_stand_beside_own_and_are_marked(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = {
        "table": "pictures", "row": "taught", "column": "marks", "claimed": 71.5, "margin": 1.0, "mean": 70.9,
        "low": 70.0, "high": 71.8, "verdict": "reproduced", "label": "Someone 2020",
        "source": "<b>their</b> table 3", "reason": "",
    }  # fmt: skip
    monkeypatch.setattr(content, "claims", lambda _: [claim])
    text = page.one_file(gather(study))
    assert '<span class="published">published 71.5</span>' in text
    assert '<span class="badge badge-good">reproduced</span>' in text
    assert "<b>their" not in text
    assert "1 of 1" in text


def test_what_has_no_room_is_left_out_and_said(study: Study, report: Report) -> None:
    small = gather(study, room=1)
    assert sum(map(len, small.parts.values())) < sum(map(len, report.parts.values()))
    said = " ".join(small.cut)
    assert f"at most {LEVELS[-1].examples} a number" in said
    assert f"at most {LEVELS[-1].points} points" in said
    assert said.split(".")[0] in page.one_file(small)


def test_without_the_store_the_tables_are_there_and_it_says_so(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "clone")
    shutil.rmtree(copy.root / "store")
    text = page.one_file(gather(read(copy.root, STUDY)))
    assert "nothing is in this store" in text
    assert text.count("data-cell=") == 7


def test_what_was_tampered_with_is_refused(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "spoilt")
    file = copy.folder("student", "taught") / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"predictions\.parquet"):
        gather(read(copy.root, STUDY))


def test_the_same_study_gives_the_same_bytes(made: PublishedStudy) -> None:
    one, other = (page.one_file(gather(read(made.root, STUDY))) for _ in range(2))
    assert one == other


def test_as_pages_it_is_several_files(made: PublishedStudy, tmp_path: Path) -> None:
    index, _ = write(made.root, STUDY, folder=tmp_path / "site")
    names = {
        file.relative_to(tmp_path / "site").as_posix() for file in (tmp_path / "site").rglob("*") if file.is_file()
    }
    assert {"index.html", "report.css", "vega.js", "report.js", "data/overview.json", "data/cells-0.json"} <= names
    parsed = Parsed(index.read_text(encoding="utf-8"))
    for _, attributes in parsed.elements:
        if name := attributes.get("src"):
            digest = base64.b64encode(hashlib.sha256((tmp_path / "site" / name).read_bytes()).digest()).decode()
            assert attributes["integrity"] == f"sha256-{digest}"
    write(made.root, STUDY, folder=tmp_path / "site")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.txt").write_text("mine")
    with pytest.raises(RedistillError, match="holds other things than a report"):
        write(made.root, STUDY, folder=tmp_path / "else")


def test_a_report_is_no_part_of_what_is_published(made: PublishedStudy, tmp_path: Path) -> None:
    from redistill.provenance import published
    from redistill.tables.publish import differences

    copy = copied(made, tmp_path / "copy")
    file, _ = write(copy.root, STUDY)
    assert file == copy.results / "report.html"
    assert file not in published.files(copy.root, STUDY)
    assert differences(copy.root, STUDY, copy.plan.target.folder(copy.root)) == {}


def test_it_says_why_it_cannot_be_written(made: PublishedStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RedistillError, match="cannot be written"):
        write(made.root, STUDY, tmp_path / "file" / "report.html")
    with pytest.raises(RedistillError, match="no study `nothing`"):
        write(made.root, "nothing")
