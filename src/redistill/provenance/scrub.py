"""What nobody else needs to know is taken out of a record where it is written: users, hosts, absolute paths, secrets.

Free text, such as what an attempt said when it failed, may hold any of them. Everything else that a record has is a
digest, a version, a number or a name from the project's own files, in which only paths and secrets are looked for: a
user who is called like a processor changes none. `key_parts` and the thing's name, which results/ has too, are kept
to the letter: another key would come of them.
"""

import os
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from redistill.provenance import store

FREE, EXACT = ("said",), ("key_parts", "what")
ORDINARY = ("root", "nobody", "user", "localhost", "home")  # names that tell nothing
SHORTEST = 6  # of a secret: a variable that is called so and holds `1` is none

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|PWD_|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE|_AUTH|^AUTH", re.IGNORECASE)
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA|ASIA)[A-Za-z0-9_-]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|(?<=\bBearer )\S+|(?<=\bBasic )\S+",
    re.DOTALL,
)
_SAID = re.compile(
    r"\b([\w-]*(?:token|secret|passw(?:or)?d|credential|api[_-]?key|signature)[\w-]*\s*[=:]\s*)[\"']?[^\s\"',;&)]+",
    re.IGNORECASE,
)
_CHARACTER = r"(?:<user>|<host>|[^\s'\"`:,;()<>|])"  # of an unquoted path
_WORD = r"(?:<user>|<host>|[^\s'\"`:,;()<>|/\\])+"
_START = r"(?:/|\b[A-Za-z]:[\\/]|\\\\)"
_PLACES = re.compile(
    r"(?P<start>\A/[^:'\"\n]*(?=: ))"  # as errors of the system are said, whatever is in the path
    r"|(?P<url>\b(?!file:)[a-z][a-z0-9+.-]*://(?:<user>|<host>|[^\s'\"<>|])+)"
    rf"|(?P<quote>['\"`])(?:file:)?{_START}[^'\"`\n]*(?P=quote)"
    # a space is taken for one of a folder's name where a separator follows, with a few words before it at most
    rf"|(?:\bfile:|(?<![\w.~/<>-])){_START}{_CHARACTER}*(?:[ \t]+(?:{_WORD}[ \t]+){{0,7}}{_WORD}[/\\]{_CHARACTER}+)*"
)
_ADDRESS = re.compile(r"\b(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}\b")
_ENDING = re.compile(r"[^/\\]*[/\\][^/\\]+[/\\][^/\\]+[/\\].*?([^/\\]+\.[A-Za-z]\w{0,11})$")


def write(file: Path, value: dict[str, Any], root: Path) -> None:
    """Write a record, or what will be one, without what it should not say."""
    store.write_atomically(file, store.pretty(_without(value, root, _secrets())))


def _without(value: Any, root: Path, secrets: list[str], name: str = "") -> Any:
    if name in EXACT:
        return value
    if isinstance(value, dict):
        return {key: _without(inner, root, secrets, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, root, secrets, name) for inner in value]
    if not isinstance(value, str):
        return value
    if name in FREE:
        return text(value, root, secrets)
    value = _without_secrets(value, secrets)
    return _PLACES.sub(_shortened, _folders(value, root)) if "/" in value or "\\" in value else value


def text(said: str, root: Path, secrets: list[str] | None = None) -> str:
    """Free text without secrets, absolute paths, names of users and hosts, and addresses of machines."""
    secrets = _secrets() if secrets is None else secrets
    said = _SAID.sub(r"\1<secret>", _SECRETS.sub("<secret>", _without_secrets(said, secrets)))
    for start in (secret[:n] for secret in secrets for n in range(len(secret) - 1, SHORTEST - 1, -1)):
        if said.rstrip(")").endswith(start):  # a message that was cut in its middle
            said = said.rstrip(")").removesuffix(start) + "<secret>"
    said = _folders(said, root)  # and names: some have spaces in them, so that no pattern could tell where they end
    for names, instead in ((_users(), "<user>"), (_hosts(), "<host>")):
        for name in sorted(names, key=len, reverse=True):
            said = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", instead, said, flags=re.IGNORECASE)
    return _ADDRESS.sub("<address>", _PLACES.sub(_shortened, said))


def _without_secrets(said: str, secrets: list[str]) -> str:
    for secret in secrets:
        said = said.replace(secret, "<secret>")
    return said


def _secrets() -> list[str]:
    """Values of the environment that go by the name of a secret, the longest first."""
    found = {v for n, v in os.environ.items() if _SECRET_NAME.search(n) and len(v) >= SHORTEST and not v.isdigit()}
    return sorted(found, key=len, reverse=True)


def _folders(said: str, root: Path) -> str:
    """With known folders under short names, or at least without the spaces in theirs."""
    own = {sys.prefix: "<python>", os.environ.get("HOME", ""): "~"}
    own |= {str((root / "store").resolve()): "store", str(root.resolve()): ".", str(root): "."}
    others = {str(folder): re.sub(r"[^\w/.-]", "_", str(folder)) for folder in (tempfile.gettempdir(), *root.parents)}
    return _renamed(_renamed(said, own), others)


def _renamed(said: str, known: dict[str, str]) -> str:
    """With other names for these folders, the longest first; what is in `.` is known without it."""
    names = {folder.rstrip("/"): name for folder, name in known.items() if len(folder) > 1}
    any_of = "|".join(re.escape(folder) for folder in sorted(names, key=len, reverse=True))

    def name(found: re.Match[str]) -> str:
        return "" if found[2] and names[found[1]] == "." else names[found[1]] + (found[2] or "")

    return re.sub(rf"(?<![\w.-])({any_of})(?:(/)|(?![\w-]|\.\w))", name, said) if names else said


def _shortened(found: re.Match[str]) -> str:
    if found["url"]:
        scheme, _, rest = found["url"].partition("://")
        place = rest.partition("?")[0].partition("#")[0]
        host, slash, path = place.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    quote = found["quote"] or ""
    ending = _ENDING.match(found[0].strip(quote) if quote else found[0])
    return f"{quote}<path>{'/' + ending[1] if ending else ''}{quote}"


def _users() -> set[str]:
    """What this user is called."""
    found = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    found.add(Path(os.environ.get("HOME", "/")).name)
    try:
        import pwd

        entry = pwd.getpwuid(os.getuid())
        found |= {entry.pw_name, entry.pw_gecos.partition(",")[0]}
    except (ImportError, KeyError):
        pass  # a user without an entry, as in a container, has no other name
    return {name for name in found if len(name) > 1 and name.lower() not in ORDINARY}


def _hosts() -> set[str]:
    """What this machine is called."""
    found = {os.environ.get("HOSTNAME", ""), socket.gethostname(), os.uname().nodename}
    found |= {name.partition(".")[0] for name in found}
    return {name for name in found if len(name) > 1 and name.lower() not in ORDINARY}
