"""The store: nothing half-written, nothing overwritten, nothing unverified; and what is fetched into it."""

import fcntl
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from redistill.config import compose
from redistill.data import fetch
from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import store

REPOSITORY = Path(__file__).parents[1]
PARTS = {"kind": "run", "inputs": {}, "config": {}}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def made(root: Path, key: str = "0123456789abcdef", **files: str) -> Path:
    """A thing in the store, put there as a job would."""
    work = root / "store" / "work" / key
    for name, text in (files or {"model": "weights", "log": "lines"}).items():
        file = work / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    folder = root / "store" / "runs" / key
    store.put(root, work, folder, PARTS)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def flip(file: Path) -> None:
    """Change one bit, and let no clock of the file system hide it."""
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    stat = file.stat()
    file.write_bytes(raw)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


# --- put, finish, recovered ------------------------------------------------------------------------------------------


def test_what_is_put_is_finished_whole_and_its_work_folder_gone(tmp_path):
    folder = made(tmp_path, model="weights", sub__vocab="words")
    assert store.is_done(folder)
    assert not (tmp_path / "store" / "work" / folder.name).exists()
    assert set(contents(folder)) == {"model", "sub/vocab", "manifest.json", "done.json"}
    manifest = store.read_manifest(folder)
    assert manifest == {
        "files": {
            "model": {"sha256": digest(b"weights"), "size": 7},
            "sub/vocab": {"sha256": digest(b"words"), "size": 5},
        },
        "key_parts": PARTS,
    }
    sealed = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    assert sealed == {"manifest": store.digest_of(manifest)}
    assert store.problems(folder, manifest) == []
    store.trust(tmp_path, folder)


def test_a_manifest_is_a_function_of_the_bytes(tmp_path):
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    assert contents(one) == contents(other)


def test_the_same_made_again_changes_nothing(tmp_path):
    folder = made(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert made(tmp_path) == folder
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    assert not (tmp_path / "store" / "work" / folder.name).exists()


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"model": "weights", "log": "other lines"}, "log"),
        ({"model": "weights"}, "log"),
        ({"model": "weights", "log": "lines", "extra": "x"}, "extra"),
    ],
)
def test_made_again_and_different_names_the_file_and_overwrites_nothing(tmp_path, files, named):
    folder = made(tmp_path)
    before = contents(folder)
    with pytest.raises(RedistillError, match=f"runs/{folder.name}/{named}: made again, it differs"):
        made(tmp_path, **files)
    assert contents(folder) == before


def test_a_whole_folder_that_lacks_only_done_is_recovered(tmp_path):
    folder = made(tmp_path)
    before = contents(folder)
    (folder / "done.json").unlink()
    assert not store.is_done(folder)
    assert store.recovered(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("damage", ["flip", "lose", "add", "no manifest", "half a manifest"])
def test_a_broken_folder_without_done_is_removed(tmp_path, damage):
    folder = made(tmp_path)
    (folder / "done.json").unlink()
    match damage:
        case "flip":
            flip(folder / "model")
        case "lose":
            (folder / "model").unlink()
        case "add":
            (folder / "more").write_text("x", encoding="utf-8")
        case "no manifest":
            (folder / "manifest.json").unlink()
        case "half a manifest":
            (folder / "manifest.json").write_text('{"files": {', encoding="utf-8")
    assert not store.recovered(folder)
    assert not folder.exists()


def test_nothing_to_recover_where_there_is_nothing(tmp_path):
    assert not store.recovered(tmp_path / "none")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "new" / "file.json"
    store.write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        store.write_atomically(file, "new \ud800")
    assert file.read_text(encoding="utf-8") == "old"


# --- trust -----------------------------------------------------------------------------------------------------------


@contextmanager
def untrusted(folder: Path, name: str) -> Iterator[None]:
    """What is done to the folder is found when it is to be used, and the file is named."""
    yield
    root = folder.parents[2]
    for _ in range(2):  # what was found wrong is not noted as right
        with pytest.raises(IntegrityError) as caught:
            store.trust(root, folder)
        assert str(folder / name) in str(caught.value)
        assert caught.value.expected != caught.value.found
        assert "made again" in str(caught.value)


@pytest.mark.parametrize("noted", [True, False])
def test_trust_names_a_flipped_byte_and_a_missing_file(tmp_path, noted):
    for key, damage in (("a" * 16, flip), ("b" * 16, Path.unlink)):
        folder = made(tmp_path, key)
        if not noted:
            (tmp_path / "store" / "work" / "verified" / key).unlink()
        with untrusted(folder, "model"):
            damage(folder / "model")


def test_trust_names_a_file_that_nobody_made(tmp_path):
    folder = made(tmp_path)
    (tmp_path / "store" / "work" / "verified" / folder.name).unlink()  # as after a pull
    with untrusted(folder, "more"):
        (folder / "more").write_text("x", encoding="utf-8")


@pytest.mark.parametrize("text", ['{"files": {}, "key_parts": {}}', '{"files": {', "", "[]", "\0"])
def test_trust_names_a_manifest_that_is_not_what_was_sealed(tmp_path, text):
    folder = made(tmp_path)
    with untrusted(folder, "manifest.json"):
        (folder / "manifest.json").write_text(text, encoding="utf-8")


def test_trust_wants_the_manifest_that_git_knows(tmp_path):
    known = tmp_path / "results" / "some" / "manifests.json"
    known.parent.mkdir(parents=True)
    known.write_text(json.dumps({"0123456789abcdef": {"digest": "0" * 64}}), encoding="utf-8")
    folder = made(tmp_path)
    (tmp_path / "store" / "work" / "verified" / folder.name).unlink()  # as after a pull
    with untrusted(folder, "manifest.json"):
        pass


def test_what_was_found_right_is_not_hashed_again(tmp_path, monkeypatch):
    folder = made(tmp_path)
    monkeypatch.setattr(store, "sha256_file", lambda file: pytest.fail(f"{file} was hashed again"))
    store.trust(tmp_path, folder)


# --- locks -----------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from redistill.provenance.store import locked
folder, name = Path(sys.argv[1]), sys.argv[2]
def say(what):
    with (folder / "log").open("a") as log:
        log.write(f"{name} {what}\\n")
    print(what, flush=True)
say("asks")
with locked(folder, "key"):
    say("in")
    sys.stdin.read()
    say("out")
"""


def holder(folder: Path, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "asks\n"
    return process


def is_held(folder: Path) -> bool:
    with (folder / "work" / "key.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_who_comes_second_waits(tmp_path):
    first = holder(tmp_path, "first")
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    assert is_held(tmp_path)
    second = holder(tmp_path, "second")
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    log = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert log == ["first asks", "first in", "second asks", "first out", "second in", "second out"]
    assert not is_held(tmp_path)


def test_a_killed_holder_frees_the_lock(tmp_path):
    process = holder(tmp_path, "first")
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    assert is_held(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with store.locked(tmp_path, "key"):
        assert is_held(tmp_path)


# --- fetch -----------------------------------------------------------------------------------------------------------

FILES = {"a.txt": b"first", "sub/b.txt": b"second"}
DIGESTS = {name: digest(content) for name, content in FILES.items()}


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def tarred(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


ARCHIVES = pytest.mark.parametrize("pack", [zipped, tarred])


@ARCHIVES
@pytest.mark.parametrize("folder", ["top/inside", "top", ""])
def test_only_the_named_members_are_unpacked(tmp_path, pack, folder):
    inside = f"{folder}/" if folder else ""
    members = {f"{inside}{name}": content for name, content in FILES.items()}
    members |= {"../outside": b"x", "/absolute": b"x", f"{inside}other.txt": b"x", "elsewhere/a.txt": b"x"}
    (tmp_path / "work").mkdir()
    fetch._unpack(pack(tmp_path / "archive", members), folder, DIGESTS, tmp_path / "work")
    assert contents(tmp_path / "work") == FILES
    assert not (tmp_path / "outside").exists()


@ARCHIVES
def test_a_missing_member_is_named(tmp_path, pack):
    archive = pack(tmp_path / "archive", {"top/a.txt": b"first"})
    with pytest.raises(RedistillError, match="archive has no member top/sub/b.txt"):
        fetch._unpack(archive, "top", DIGESTS, tmp_path / "work")


def test_a_link_in_a_tar_is_no_member(tmp_path):
    with tarfile.open(tmp_path / "archive", "w") as archive:
        link = tarfile.TarInfo("top/a.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(RedistillError, match="no member top/a.txt"):
        fetch._unpack(tmp_path / "archive", "top", {"a.txt": "0" * 64}, tmp_path / "work")


def test_an_archive_inside_is_verified_before_it_is_opened(tmp_path):
    outer = tarred(tmp_path / "outer.tar.gz", {"name-1.0/data/inner.tar.gz": b"no archive at all"})
    config = {"inner": "data/inner.tar.gz", "inner_sha256": digest(b"no archive at all")}
    assert fetch._inner(outer, config, tmp_path).read_bytes() == b"no archive at all"
    with pytest.raises(IntegrityError) as caught:
        fetch._inner(outer, {**config, "inner_sha256": "0" * 64}, tmp_path)
    assert caught.value.found == config["inner_sha256"]
    assert all(part in str(caught.value) for part in ("data/inner.tar.gz", "0" * 64, config["inner_sha256"]))
    with pytest.raises(RedistillError, match=r"outer.tar.gz has no member data/other.tar.gz"):
        fetch._inner(outer, {**config, "inner": "data/other.tar.gz"}, tmp_path)


def test_a_wrong_digest_names_file_expected_and_found(tmp_path):
    (tmp_path / "file").write_bytes(b"found")
    fetch._verify(tmp_path / "file", "file", digest(b"found"))
    with pytest.raises(IntegrityError) as caught:
        fetch._verify(tmp_path / "file", "the file", "0" * 64)
    assert (caught.value.file, caught.value.expected, caught.value.found) == ("the file", "0" * 64, digest(b"found"))
    assert str(caught.value).startswith(f"the file: SHA-256 is {digest(b'found')}, expected {'0' * 64}.")


def digits() -> dict[str, Any]:
    source: dict[str, Any] = compose.load(REPOSITORY / "configs" / "sources.yaml").data["digits"]
    return {"inner": None, "folder": "", **source}


def test_scikit_learns_digits_are_found_as_installed(tmp_path):
    (tmp_path / "work").mkdir()
    assert fetch.fetch(digits(), {}, tmp_path / "work") == {"files": 1}
    assert [file.name for file in (tmp_path / "work").iterdir()] == ["digits.csv.gz"]
    with gzip.open(tmp_path / "work" / "digits.csv.gz", "rt") as stream:
        assert sum(1 for _ in stream) == 1797
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "0" * 64}, "digits.csv.gz: SHA-256 is 09f66e6debdee2cd2b5ae59e0d6abbb7"),
        ({"file": "sklearn/nothing.csv"}, "has no file sklearn/nothing.csv; run `make setup` again"),
        ({"package": "no-such-distribution"}, "no-such-distribution is not installed"),
    ],
)
def test_an_installed_file_that_is_not_right_is_refused(tmp_path, change, words):
    config = digits()
    (tmp_path / "work").mkdir()
    with pytest.raises(RedistillError, match=words):
        fetch.fetch({**config, "origin": {**config["origin"], **change}}, {}, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def wheel(folder: Path, content: bytes) -> tuple[Path, dict[str, Any]]:
    """A wheel with one file, and the source that keeps it."""
    folder.mkdir()
    about = b"Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n"
    tags = b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = "made_up-1.0.dist-info"
    members = {"made_up/data.txt": content, f"{info}/METADATA": about, f"{info}/WHEEL": tags, f"{info}/RECORD": b""}
    file = zipped(folder / "made_up-1.0-py3-none-any.whl", members)
    origin = {
        "type": "pypi",
        "package": "made-up",
        "version": "1.0",
        "form": "wheel",
        "sha256": store.sha256_file(file),
    }
    return file, {"origin": origin, "inner": None, "folder": "made_up", "files": {"data.txt": digest(content)}}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let pip see nothing but what the test says."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "5")
    monkeypatch.setattr(fetch, "TIMEOUT", 120)

    def see(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"PIP_{name.upper()}", value)

    return see


def test_a_release_is_fetched_by_pip_verified_and_unpacked(tmp_path, offline):
    file, config = wheel(tmp_path / "index", b"data")
    offline(no_index="1", find_links=str(file.parent))
    (tmp_path / "work").mkdir()
    assert fetch.fetch(config, {}, tmp_path / "work") == {"files": 1}
    assert contents(tmp_path / "work") == {"data.txt": b"data"}

    wanted, found = config["origin"]["sha256"], store.sha256_file(wheel(tmp_path / "another", b"else")[0])
    offline(find_links=str(tmp_path / "another"))
    (tmp_path / "more").mkdir()
    with pytest.raises(IntegrityError) as caught:
        fetch.fetch(config, {}, tmp_path / "more")
    assert (caught.value.expected, caught.value.found) == (wanted, found)
    assert "made-up 1.0 (wheel)" in str(caught.value)
    assert list((tmp_path / "more").iterdir()) == []


def test_a_dead_index_is_one_sentence(tmp_path, offline):
    offline(index_url="http://127.0.0.1:9")
    _, config = wheel(tmp_path / "unused", b"data")
    with pytest.raises(RedistillError) as caught:
        fetch.fetch(config, {}, tmp_path)
    message = str(caught.value)
    assert message.startswith("made-up 1.0: pip could not fetch it: ERROR: ")
    assert message.endswith("Check the network and pip's index, then start again")
    assert "\n" not in message
