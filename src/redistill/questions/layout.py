"""Where the boxes of a picture stand: in columns from left to right, so that nothing touches. The same input gives the
same places.

A box stands left of all that is made of it. Edges leave a box together; those that pass a column share a lane there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
LANE = 8.0  # height of a lane
Edge = tuple[str, str]  # from what is made of, to what is made


@dataclass(frozen=True)
class Placed:
    """Left upper corners of boxes, lines of edges through the columns as (x, y) pairs, and the size of it all."""

    corners: dict[str, tuple[float, float]]
    lines: dict[Edge, list[tuple[float, float]]]
    width: float
    height: float


@dataclass
class _Item:
    """A box, or a lane, in a column."""

    column: int
    height: float
    y: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def place(heights: Mapping[str, float], edges: list[Edge], width: float, across: float, between: float) -> Placed:
    """Place boxes of one width.

    Args:
        heights: of the boxes, in the order of reading.
        across: room between columns.
        between: room between boxes of a column.
    """
    columns = _columns(heights, edges)
    items = {name: _Item(columns[name], height) for name, height in heights.items()}
    chains: dict[Edge, list[str]] = {}
    for edge in edges:
        between_them = range(columns[edge[0]] + 1, columns[edge[1]])
        lanes = {f"{edge[0]} {column}": _Item(column, LANE) for column in between_them}
        items |= {name: lane for name, lane in lanes.items() if name not in items}
        chains[edge] = [edge[0], *lanes, edge[1]]
    order = _ordered(items, chains)
    _settle(items, order, chains, between)
    top = min(item.y for item in items.values())
    corners = {name: (items[name].column * (width + across), items[name].y - top) for name in heights}
    bottom = max(item.y + item.height for item in items.values()) - top
    ports = _ports(items, chains)
    lines = {edge: _line(edge, chain, items, ports[edge], width, across, top) for edge, chain in chains.items()}
    return Placed(corners, lines, (max(columns.values()) + 1) * (width + across) - across, bottom)


def _columns(heights: Mapping[str, float], edges: list[Edge]) -> dict[str, int]:
    """Each box one column left of the nearest that is made of it, the last ones at the right."""
    users: dict[str, list[str]] = {}
    for inner, outer in edges:
        users.setdefault(inner, []).append(outer)
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            depth[name] = max((of(user) + 1 for user in users.get(name, ())), default=0)
        return depth[name]

    most = max(of(name) for name in heights)
    return {name: most - depth[name] for name in heights}


def _ordered(items: dict[str, _Item], chains: dict[Edge, list[str]]) -> list[list[str]]:
    """The items of each column from top to bottom, so that few edges cross."""
    columns: list[list[str]] = [[] for _ in range(max(item.column for item in items.values()) + 1)]
    for name, item in items.items():
        columns[item.column].append(name)
    sides = _neighbours(items, chains)
    for sweep in range(SWEEPS):
        to_the_right = sweep % 2 == 0
        rank = {name: i for column in columns for i, name in enumerate(column)}
        for column in columns if to_the_right else reversed(columns):
            next_to = {name: sides[name][0 if to_the_right else 1] for name in column}
            wanted = {name: sum(rank[n] for n in some) / len(some) if some else float(rank[name])
                      for name, some in next_to.items()}  # fmt: skip
            column.sort(key=lambda name: (wanted[name], rank[name]))
            rank.update({name: i for i, name in enumerate(column)})
    return columns


def _neighbours(items: Iterable[str], chains: dict[Edge, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """What an item is joined to in the column at its left and in the one at its right."""
    sides: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in items}
    for chain in chains.values():
        for left, right in pairwise(chain):
            if right not in sides[left][1]:
                sides[left][1].append(right)
                sides[right][0].append(left)
    return sides


def _settle(
    items: dict[str, _Item], columns: list[list[str]], chains: dict[Edge, list[str]], between: float
) -> None:  # fmt: skip
    """Heights at which items are near what they are joined to, in their order, with room between them."""
    sides = _neighbours(items, chains)
    for column in columns:
        _stack(items, column, [items[name].y for name in column], between)
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 else reversed(columns):
            wanted = []
            for name in column:
                near = [items[n].middle for side in sides[name] for n in side]
                wanted.append(sum(near) / len(near) - items[name].height / 2 if near else items[name].y)
            _stack(items, column, wanted, between)


def _stack(items: dict[str, _Item], column: list[str], wanted: list[float], between: float) -> None:
    below = float("-inf")
    for name, y in zip(column, wanted, strict=True):
        items[name].y = max(y, below)
        below = items[name].y + items[name].height + between
    shift = sum(items[name].y - y for name, y in zip(column, wanted, strict=True)) / max(len(column), 1)
    for name in column:
        items[name].y -= shift


def _ports(items: dict[str, _Item], chains: dict[Edge, list[str]]) -> dict[Edge, float]:
    """Where each edge enters a box, those from above on top."""
    found: dict[Edge, float] = {}
    at: dict[str, list[tuple[float, Edge]]] = {}
    for edge, chain in chains.items():
        at.setdefault(edge[1], []).append((items[chain[-2]].middle, edge))
    for name, joined in at.items():
        for i, (_, edge) in enumerate(sorted(joined)):
            found[edge] = items[name].y + items[name].height * (i + 1) / (len(joined) + 1)
    return found


def _line(
    edge: Edge, chain: list[str], items: dict[str, _Item], port: float, width: float, across: float, top: float
) -> list[tuple[float, float]]:
    points = []
    for name in chain:
        item = items[name]
        x, y = item.column * (width + across), item.middle - top
        if name == edge[1]:
            points.append((x, port - top))
        else:
            points += [(x, y)] if name != edge[0] else []
            points.append((x + width, y))
    return points
