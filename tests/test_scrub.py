"""What is taken out of records, and what is left in them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redistill.provenance import scrub

ROOT = Path("/srv/work/project")
NAMES = {"HOME": "/home/al ice", "USER": "alice", "LOGNAME": "alice", "HOSTNAME": "wonder.land"}
SECRETS = {"HF_TOKEN": "down-the-rabbit-hole", "MY_API_KEY": "queen/of+hearts"}


@contextmanager
def somebody() -> Iterator[pytest.MonkeyPatch]:
    """Within, somebody with these names is at work."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (NAMES | SECRETS).items():
            patch.setenv(name, value)
        patch.setattr(scrub.tempfile, "gettempdir", lambda: "/tmp/mine (2)")
        yield patch


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("/srv/work/project/store/runs/ab/log.jsonl: changed", "store/runs/ab/log.jsonl: changed"),
        ("in /srv/work/project, nothing", "in ., nothing"),
        ("/srv/work/projects/x.csv: gone", "<path>/x.csv: gone"),
        ("open('/home/al ice/data/x.csv')", "open('~/data/x.csv')"),
        ("/home/al ice/data/x.csv: gone", "~/data/x.csv: gone"),
        ("[Errno 2] No such file: '/mnt/big disk/alice/y.parquet'", "[Errno 2] No such file: '<path>/y.parquet'"),
        ("/mnt/big disk/y.parquet: No such file", "<path>/y.parquet: No such file"),
        ("/mnt/a b c/d.x: No such file", "<path>/d.x: No such file"),
        ("/mnt/my big disk/of mine/y.csv is gone", "<path>/y.csv is gone"),
        ("from /mnt/my big disk/x.csv to /mnt/my own disk/y/z.csv", "from <path>/x.csv to <path>/z.csv"),
        ("/home/al ice/my own dir is gone", "~/my own dir is gone"),
        ("/tmp/mine (2)/z is full", "<path> is full"),
        ("cannot open /mnt/al ice now", "cannot open <path> now"),
        ("see file:///etc/passwd", "see <path>"),
        ("at /home/carol.smith now", "at <path> now"),
        (r"C:\Users\alice\x.txt is gone", "<path>/x.txt is gone"),
        ("https://alice:pw@hub.org/a/b.zip?sig=abc#c gave 404", "https://hub.org/a/b.zip gave 404"),
        ("Alice@wonder says so; wonder.land too", "<user>@<host> says so; <host> too"),
        ("malice and alicent", "malice and alicent"),
        ("from 10.1.2.3:29500 to 127.0.0.1:29500", "from <address>:29500 to 127.0.0.1:29500"),
        ("key down-the-rabbit-hole!", "key <secret>!"),
        ("it was cut in the down-the-rabb", "it was cut in the <secret>"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer <secret>"),
        ("hf_abcdefghijklmnopqrstuv is wrong", "<secret> is wrong"),
        ("password=12345, next", "password=<secret>, next"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- x", "<secret> x"),
        ("ValueError: 3 of 4 and/or 1/2 are not text/plain", "ValueError: 3 of 4 and/or 1/2 are not text/plain"),
        ("image/student-kd · digits · seed 0: stopped", "image/student-kd · digits · seed 0: stopped"),
        ("raise `accumulate` (docs/engine.md says why)", "raise `accumulate` (docs/engine.md says why)"),
        ("SHA-256 is 00ff, expected 11ee. See https://a.org/b", "SHA-256 is 00ff, expected 11ee. See https://a.org/b"),
    ],
)
def test_free_text_keeps_its_meaning_and_nothing_else(said: str, left: str) -> None:
    with somebody():
        assert scrub.text(said, ROOT) == left
        assert scrub.text(left, ROOT) == left


@pytest.mark.parametrize("home", ["/home/ann b", "/home/ann"])
def test_known_folders_are_found_whatever_is_in_their_names(tmp_path: Path, home: str) -> None:
    root, shared = Path(home, "my (own) work dir/x"), tmp_path / "a shared  place" / "s"
    shared.mkdir(parents=True)
    with somebody() as patch:
        patch.setenv("HOME", home)
        assert scrub.text(f"cannot write {root}/store/runs, as {root} is full", root) == (
            "cannot write store/runs, as . is full"
        )
        assert scrub.text(f"{home}/x y z is not {root}.", root) == "~/x y z is not .."
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "store").symlink_to(shared)
        assert scrub.text(f"no room in {shared} for it", tmp_path / "project") == "no room in store for it"
        beside = "a large disk of (ours)"
        assert scrub.text(f"/{beside}/other is full", Path(f"/{beside}/project")) == "<path> is full"


part = st.text("abcdefgh .-_0", min_size=1, max_size=8).map(lambda t: f"q{t.strip() or 'x'}z")


@given(st.lists(part, min_size=2, max_size=5), st.sampled_from(["'{}'", "{}: No such file", "cannot open {}, sorry"]))
def test_no_folder_of_an_absolute_path_is_left(parts: list[str], sentence: str) -> None:
    with somebody():
        said = scrub.text(sentence.format("/" + "/".join(parts)), ROOT)
    assert "<path>" in said
    assert not any(folder in said for folder in parts[:-1] if folder not in parts[-1] and folder not in sentence)


def test_only_free_text_loses_names_and_keys_are_kept_to_the_letter(tmp_path: Path) -> None:
    parts = {"config": {"path": "/home/al ice/x", "value": "down-the-rabbit-hole"}}
    value = {"key_parts": parts, "machine": {"processor": "alice 9000"}, "attempts": [{"said": "alice 9000"}],
             "environment": {"pinned": {"A": "/opt/lib/x", "B": "queen/of+hearts"}}}  # fmt: skip
    with somebody():
        scrub.write(tmp_path / "store" / "records" / "x.json", value, tmp_path)
    written = json.loads((tmp_path / "store" / "records" / "x.json").read_text(encoding="utf-8"))
    assert written["key_parts"] == parts
    assert written["machine"] == {"processor": "alice 9000"}
    assert written["attempts"] == [{"said": "<user> 9000"}]
    assert written["environment"]["pinned"] == {"A": "<path>", "B": "<secret>"}


def test_names_that_tell_nothing_are_left() -> None:
    with somebody() as patch:
        patch.setattr(scrub.socket, "gethostname", lambda: "localhost")
        patch.setenv("USER", "root")
        patch.setenv("API_TOKEN", "1")
        assert scrub.text("root of localhost has 1", ROOT) == "root of localhost has 1"
