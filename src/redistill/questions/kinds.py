"""What the kinds of things are called when people are told of them."""

from collections.abc import Mapping

NAMES = {
    "run": "run", "baseline": "baseline", "outputs": "set of teacher outputs", "choice": "choice",
    "dataset": "data set", "tokens": "set of tokens", "data": "data source", "model": "pretrained model",
    "cell": "cell", "table": "table", "submission": "submission", "scores": "table of scores",
}  # fmt: skip
RESULTS = ("cell", "table", "scores", "submission")  # counted elsewhere


def plural(word: str, count: int) -> str:
    """A name for so many: `sets of tokens` of `set of tokens`, `families` of `family`."""
    if count == 1:
        return word
    first, of, rest = word.partition(" of ")
    return f"{first[:-1]}ies{of}{rest}" if first.endswith("y") else f"{first}s{of}{rest}"


def counted(things: Mapping[str, int]) -> str:
    """How many things there are of each kind, but results."""
    return ", ".join(
        f"{things[kind]} {plural(name, things[kind])}"
        for kind, name in NAMES.items()
        if kind in things and kind not in RESULTS
    )
