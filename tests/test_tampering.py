"""Random tamperings with a published study: all are found, at the lowest level that can see them, and named; and no
untouched study gives an alarm.

REDISTILL_TAMPER=200 is the long form: so many tamperings, and 20 untouched studies (`make tamper`).
"""

import os
import random
from pathlib import Path

import pytest
from published_study import STUDY, PublishedStudy, copied, publish_study
from tamperings import TAMPERINGS, names_in

from redistill.audit import LEVELS, audit
from redistill.provenance import seal
from redistill.provenance.signatures import new_key

LONG = int(os.environ.get("REDISTILL_TAMPER", "0"))
COUNT, UNTOUCHED = LONG or 46, 20 if LONG else 2


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key; its public half is beside it."""
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    (file.parent / "public").write_text(new_key(file))
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, key: Path) -> PublishedStudy:
    """A published study that somebody has sealed."""
    study = publish_study(tmp_path_factory.mktemp("tampering") / "project")
    seal.seal(study.root, STUDY, key)
    return study


@pytest.mark.parametrize("number", range(COUNT))
def test_a_tampering_is_found_and_named_at_the_lowest_level(
    made: PublishedStudy, key: Path, tmp_path: Path, number: int
) -> None:
    draw = random.Random(number)
    changed = copied(made, tmp_path / "copy")
    done = TAMPERINGS[number % len(TAMPERINGS)](changed, draw)
    trusted = (key.parent / "public").read_text() if done.sealed else None
    report = audit(changed.root, STUDY, done.levels[-1], trusted=trusted)
    found = [*report.wrong, *report.stale, *report.unchecked]
    assert found, done.what
    assert report.status != 0
    first = min(found, key=lambda finding: LEVELS.index(finding.level))
    assert first.level in done.levels, (done.what, str(first))
    assert names_in(found, done.names), (done.what, [str(finding) for finding in found])


@pytest.mark.parametrize("content", range(100, 100 + UNTOUCHED))
def test_an_untouched_study_gives_no_alarm(tmp_path: Path, key: Path, content: int) -> None:
    study = publish_study(tmp_path / "project", content, seeds=2 + 7 * (content % 2))
    if content % 2:
        seal.seal(study.root, STUDY, key)
    report = audit(study.root, STUDY, "recompute")
    assert [str(finding) for finding in (*report.wrong, *report.stale, *report.unchecked)] == []
    assert report.status == 0
    for level, counts in report.counts.items():
        for what, counted in counts.items():
            assert counted.checked == counted.of > 0, (level, what)
