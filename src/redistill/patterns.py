"""What keys tell Snakemake: a pattern for each kind of planned things, by which a rule knows its own."""

from redistill.plan import KINDS, Plan


def pattern(plan: Plan, kind: str) -> str:
    """A regular expression for the keys of a kind, among those of all planned things in the same area of the store.

    Snakemake reads it several times for each job, so it says no more than it must: how keys begin, up to where they
    differ from those of other kinds. Its length depends on how many things are of the rarer kinds, not on all.
    """
    near = [node for node in plan.nodes.values() if node.area == KINDS[kind][0]]
    mine = [node.key for node in near if node.kind == kind]
    return _beginnings(mine, [node.key for node in near if node.kind != kind]) + "[0-9a-f]*"


def _beginnings(mine: list[str], others: list[str]) -> str:
    """What every key of `mine` begins with, and none of `others`."""
    if not mine or not others:
        return "" if mine else "(?!)"
    following: dict[str, tuple[list[str], list[str]]] = {}
    for i, keys in enumerate((mine, others)):
        for key in keys:
            following.setdefault(key[0], ([], []))[i].append(key[1:])
    own = "".join(sorted(digit for digit, (_, theirs) in following.items() if not theirs))
    found = [f"[{own}]"] if own else []
    found += [digit + _beginnings(*both) for digit, both in sorted(following.items()) if all(both)]
    return f"(?:{'|'.join(found)})"
