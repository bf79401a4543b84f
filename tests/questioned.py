"""A published study under git, to be changed and made again: what the tests of questions ask about."""

import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from published_study import STUDY, PublishedStudy, make, publish_study
from typer.testing import CliRunner

import redistill.plan as planner
from redistill.cli import app
from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance import store
from redistill.provenance.store import sha256_file
from redistill.tables.publish import publish

Cells = set[str]
TAUGHT, PLAIN = "pictures / taught / marks", "pictures / plain / marks"
TEXTS = {"texts / floor / words", "texts / reader / words"}


def committed(root: Path) -> PublishedStudy:
    """A published study whose configs and results are in git."""
    made = publish_study(root, content=1)
    git(root, "init", "--quiet")
    git(root, "add", "configs", "results")
    git(root, "commit", "--quiet", "--message", "Results")
    return made


def git(root: Path, *arguments: str) -> str:
    names = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    done = subprocess.run(["git", "-C", str(root), *names, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def edit(study: PublishedStudy, name: str, old: str, new: str) -> None:
    file = study.root / "configs" / name
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{name} has no {old!r}"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def remake(study: PublishedStudy) -> None:
    """Make and publish what today's configs ask for and the store does not have."""
    store.published.cache_clear()
    plan = make_plan(study.root, STUDY)
    draw = np.random.default_rng(99)
    for node in plan.nodes.values():
        if not store.is_done(node.folder(study.root)):
            make(plan, node, draw)
    publish(study.root, STUDY, plan.target.folder(study.root))


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit | RedistillError), done.exception
    return done.exit_code, done.output + (str(done.exception) if isinstance(done.exception, RedistillError) else "")


# --- one change each -------------------------------------------------------------------------------------------------


def loss_file(study: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a line of the loss were another; a real edit is tried below."""
    before = planner.fingerprint
    other = {"redistill.distill.kd": "0123456789abcdef" * 4}
    monkeypatch.setattr(
        planner, "fingerprint", lambda modules: {m: other.get(m, d) for m, d in before(modules).items()}
    )


def data_row(study: PublishedStudy, _: pytest.MonkeyPatch) -> None:
    file = study.root / "fetched" / "words" / "dev.parquet"
    old, table = sha256_file(file), pq.read_table(file)
    texts = table["text"].to_pylist()
    texts[7] = f"{texts[7]} great"
    pq.write_table(table.set_column(0, "text", [texts]), file)
    edit(study, "sources.yaml", old, sha256_file(file))


def package(_: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planner.versions
    other = {"tokenizers": "99.0"}
    monkeypatch.setattr(planner, "versions", lambda names: {n: other.get(n, v) for n, v in before(names).items()})


def seed(study: PublishedStudy, _: pytest.MonkeyPatch) -> None:
    edit(study, "studies/small.yaml", "seeds: [0, 1]", "seeds: [0, 1, 5]")


def setting(study: PublishedStudy, _: pytest.MonkeyPatch) -> None:
    edit(study, "experiments/taught.yaml", "temperature: 4.0", "temperature: 2.0")
