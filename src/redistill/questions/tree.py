"""The chain behind a number as a tree of text, and as JSON. What was shown before is named only."""

import textwrap
from collections.abc import Iterator
from typing import Any

from redistill.questions.kinds import NAMES, plural
from redistill.questions.state import points
from redistill.questions.why import Chain, Link, Member

METRICS = {"pearson_spearman": "mean of Pearson and Spearman"}
WIDTH = 118  # of a line


def in_text(chain: Chain) -> str:
    """The whole chain."""
    lines = [*_head(chain), "", *_tree(chain), "", *_below(chain)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head(chain: Chain) -> Iterator[str]:
    at = f" at {chain.commit}" if chain.commit else ""
    if chain.place is not None:
        yield f"{' / '.join(chain.place)}, in results/{chain.study}{at}"
    if chain.number is not None:
        spread = "mean ± standard deviation of " if chain.number.std is not None else ""
        runs = f"{chain.number.n} {plural('run', chain.number.n)}"
        metric = METRICS.get(chain.number.metric, chain.number.metric)
        yield f"{chain.number}: {metric} times 100, {spread}{runs}, on {chain.number.examples} examples of dev"


def _tree(chain: Chain) -> Iterator[str]:
    seen = set[str]()

    def show(name: str, roles: list[str], first: str, rest: str) -> Iterator[str]:
        link, again = chain.links[name], name in seen
        seen.add(name)
        yield f"{first}{said(link, roles)}{'  (above)' if again else ''}"
        if again:
            return
        inputs = by_link(link)
        bar = f"{rest}{'│' if inputs else ' '}   "
        yield from (f"{bar}{line}" for line in (*_members(link), *_lines(link, WIDTH - len(bar))))
        for i, (inner, their) in enumerate(inputs.items()):
            last = i == len(inputs) - 1
            yield from show(inner, their, f"{rest}{'└─' if last else '├─'} ", f"{rest}{'  ' if last else '│ '} ")

    yield from show(chain.top, [], "", "")


def by_link(link: Link) -> dict[str, list[str]]:
    """What a link is made of, each once, with all the roles in which it is."""
    found: dict[str, list[str]] = {}
    for role, names in link.inputs.items():
        for name in names:
            found.setdefault(name, []).append(role)
    return found


def said(link: Link, roles: list[str]) -> str:
    """A link in a line: its role, kind, title, and key."""
    kind, count = NAMES.get(link.kind, link.kind), len(link.members)
    called = f"{count} {plural(kind, count)}" if count > 1 else kind
    key = f"  {link.members[0].key}" if count == 1 else ""
    shown = [role for role in roles if role not in ("runs", link.kind)]
    return f"{', '.join(shown)}{': ' if shown else ''}{called} {link.title}{key}"


def _members(link: Link) -> Iterator[str]:
    """The seeds of a link, and what each scored."""
    for member in link.members:
        if len(link.members) > 1 or member.score is not None:
            yield f"seed {member.seed}: {_score(member)}{member.key}"


def _score(member: Member) -> str:
    return f"{points(member.score)}  " if member.score is not None else ""


def _lines(link: Link, width: int) -> Iterator[str]:
    """What is said of a link, wrapped; lines of one heading are a list, of which the first has it."""
    room, before = max((len(line.what) for line in link.lines), default=0) + 2, ""
    for line in link.lines:
        head = f"{line.what}:" if line.what != before else ""
        text = f"{line.words}  ({places(line.places)})" if line.places else line.words
        for i, part in enumerate(textwrap.wrap(text, max(width - room, 30), break_long_words=False,
                                               break_on_hyphens=False)):  # fmt: skip
            yield f"{head if not i else '':<{room}}{part}"
        before = line.what


def places(found: tuple[str, ...]) -> str:
    """Places, those in one file together: `a.yaml:3,5`."""
    files: dict[str, list[str]] = {}
    for place in found:
        file, _, number = place.rpartition(":")
        files.setdefault(file, []).append(number)
    return " ".join(f"{file}:{','.join(numbers)}" for file, numbers in files.items())


def _below(chain: Chain) -> Iterator[str]:
    packages = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in chain.packages.items())
    yield f"packages    {packages or 'none'}"
    yield f"code        {len(chain.modules)} modules of redistill; --json has the digest of each"
    for making, keys in chain.made.items():
        dirty = "" if making.clean else ", with files that differed from it" if making.clean is False else ""
        commit = f"commit {making.commit[:12]}{dirty}" if making.commit else "no commit"
        counted = f"{len(keys)} of {chain.things} things"
        yield f"made        {counted}: {commit}, on {making.processor}, Python {making.python}"
    yield from (f"note        {note}" for note in chain.notes)


# --- JSON ------------------------------------------------------------------------------------------------------------


def content(chain: Chain) -> dict[str, Any]:
    """The whole chain, as JSON has it: links by name, `top` first."""
    return {
        "study": chain.study, "commit": chain.commit,
        "cell": " / ".join(chain.place) if chain.place else None,
        "number": chain.number.content() if chain.number else None,
        "top": chain.top, "links": {name: _link(link) for name, link in chain.links.items()},
        "packages": chain.packages, "code": chain.modules,
        "made": [
            {"commit": m.commit or None, "clean": m.clean, "processor": m.processor, "python": m.python, "keys": keys}
            for m, keys in chain.made.items()
        ],
        "notes": list(chain.notes),
    }  # fmt: skip


def _link(link: Link) -> dict[str, Any]:
    return {
        "kind": link.kind, "title": link.title,
        "things": [{"key": m.key, "seed": m.seed, "score": m.score, "in_store": m.here} for m in link.members],
        "said": [{"what": line.what, "words": line.words, "places": list(line.places)} for line in link.lines],
        "inputs": {role: list(names) for role, names in link.inputs.items()},
    }  # fmt: skip
