"""A loss of the source on its way into the terms of a stage: what the readers of the single losses share."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redistill import registry
from redistill.importer import beside
from redistill.importer.around import (
    LOGITS,
    SIDES,
    Around,
    End,
    Terms,
    add,
    below,
    check_hook,
    end,
    exact,
    unwrapped,
)
from redistill.importer.inert import printable
from redistill.importer.names import exists, word_of
from redistill.importer.section import Section

Taps = dict[str, list[str]]


@dataclass
class Pair:
    """A pair of a loss that compares several: its ends of both sides in the method's order."""

    name: str
    weight: float
    ends: dict[str, list[End]]

    def own(self, loss: "Loss", kind: str, words: str) -> End:
        """Put the student's end below a module that the method has itself."""
        self.ends["student"] = [loss.own(found, kind, words) for found in self.ends["student"]]
        return self.ends["student"][0]


@dataclass
class Loss:
    """A loss of the source on its way into the terms of a stage."""

    kind: str
    kwargs: Section
    name: str
    weight: float
    around: Around
    terms: Terms

    def end(self, side: str, key: str, otherwise: str = ".", io: str | None = None) -> End:
        """The end that stands under `..._path`, with its `..._io`."""
        path = self.kwargs.text(key) or otherwise
        io_key = f"{key.removesuffix('path')}io"
        given = (self.kwargs.text(io_key) if io is None else io) or "output"
        return end(self.around, self.kwargs, key, side, path, given)

    def both(self, key: str) -> list[End]:
        """The student's and the teacher's end under `student_KEY` and `teacher_KEY`."""
        return [self.end(side, f"{side}_{key}") for side in SIDES]

    def pairs(self, key: str, steps: tuple[str, ...] = ("",)) -> list[Pair]:
        """The pairs under a key; each side of a pair has one end for each of the steps."""
        found = []
        held = self.kwargs.section(key)
        for name in held.data:
            section = held.section(name)
            ends = {side: [self._end_of_pair(section, f"{side}{step}", side) for step in steps] for side in SIDES}
            weight = section.number("weight", "factor")
            found.append(Pair(name, 1.0 if weight is None else float(weight), ends))
        if not found:
            self.kwargs.warn("has no pairs: torchdistill stops here", key)
        return found

    def _end_of_pair(self, pair: Section, key: str, side: str) -> End:
        section = pair.section(key)
        path, io = section.text("path") or ".", section.text("io") or "output"
        return end(self.around, section, "path", side, path, io)

    def add_pairs(self, method: str, pairs: list[Pair], each: list[dict[str, Any]], factor: float = 1.0) -> None:
        """One term of all pairs, where they have one weight and the same settings; else a term of each."""
        weights = {pair.weight for pair in pairs}
        alike = len(weights) == 1 and all(settings == each[0] for settings in each)
        groups = [("", pairs)] if alike else [(f"_{word_of(pair.name)}", [pair]) for pair in pairs]
        for suffix, group in groups:
            ends = [found for pair in group for side in SIDES for found in pair.ends[side]]
            settings = each[pairs.index(group[0])]
            self.add(method, ends, settings, factor=factor * group[0].weight, suffix=suffix)
        if len(groups) > 1 and len(weights) > 1:
            self.kwargs.warn("pairs have weights of their own: each becomes a term")

    def add(
        self, method: str, ends: Iterable[End] = (), settings: dict[str, Any] | None = None, *, factor: float = 1.0,
        suffix: str = "", taps: Taps | None = None,
    ) -> str:  # fmt: skip
        """Note a term whose weight is the loss's, times a factor; returns its name."""
        found = taps or {side: [one.tap for one in ends if one.side == side] for side in SIDES}
        given, settings = {side: paths for side, paths in found.items() if paths}, settings or {}
        if exists(self.kwargs.source, "loss", method):
            known = registry.signature("loss", method).settings
            for key, value in settings.items():
                if wrong := registry.mistake(known[key], value):
                    self.kwargs.warn(f"setting `{key}` of loss `{method}` {wrong}, and is {printable(value)}")
        taken = {"taps": given} if given else {}
        term = {"method": method, "weight": exact(self.weight * factor), **taken, **settings}
        return add(self.terms, f"{self.name}{suffix}", term)

    def settings(self, **names: str) -> dict[str, Any]:
        """Settings of redistill by their names there, as far as they are given."""
        found = {here: self._plain(there) for here, there in names.items() if self.kwargs.has(there)}
        return {here: value for here, value in found.items() if value is not None}

    def _plain(self, key: str) -> Any:
        value = self.kwargs.data[key]
        number = isinstance(value, str) and re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", value, re.IGNORECASE)
        return self.kwargs.number(key) if number else self.kwargs.plain(key)

    def differs(self, words: str) -> None:
        """The term is not the same number as in torchdistill, whatever its weight."""
        self.kwargs.warn(f"{self.kind} is another number in redistill: {words}")

    def constant(self, key: str, value: float) -> None:
        """A number that redistill's method has as a constant."""
        given = self.kwargs.number(key)
        if given is not None and given != value:
            self.kwargs.warn(f"redistill has {value:g} there, and no setting for it", key)

    def summed(self, default: str = "mean", power: int = 1) -> float:
        """The factor of a loss that may be a sum over as many numbers as a power of the batch's size."""
        reduction, batch = self.kwargs.text("reduction") or default, self.around.batch
        if reduction == default:
            return 1.0
        if batch is None:
            self.kwargs.warn("sums over a batch whose size is not known: the weight is not comparable", "reduction")
            return 1.0
        over = "the batch" if power == 1 else f"{power} dimensions as long as the batch"
        self.kwargs.warn(f"sums over {over}: the weight is multiplied by {batch**power}; a smaller last batch of an "
                         "epoch differs", "reduction")  # fmt: skip
        return float(batch**power)

    def unknown_sum(self) -> None:
        """A sum over the elements, whose number is not in the source."""
        if (self.kwargs.text("reduction") or "mean") != "mean":
            self.kwargs.warn("is a sum over the elements, and redistill's a mean: the weight is not comparable",
                             "reduction")  # fmt: skip

    def own(self, found: End, kind: str, words: str) -> End:
        """The end below a module that the method has itself; the end as it is where there is none, which is said."""
        if found.made is not None and found.made.kind == kind:
            self.take(found, words)
            return below(found, self.around)
        self.differs(f"its method has {words} of its own on `{found.tap}`, and no {kind} is described there")
        return End(found.side, found.tap, found.path, found.io)

    def take(self, found: End, words: str) -> None:
        """What torchdistill makes at an end goes into the term."""
        assert found.made is not None
        beside.taken(found.made)
        what = (found.side, found.path)
        if what in self.around.taken:
            self.kwargs.warn(f"shares {words} with another loss; in redistill each term has its own")
        self.around.taken.add(what)

    def still(self, name: str) -> None:
        """What a term learns on the teacher's side stays as it is where the stage does not train the teacher."""
        if "teacher" in self.around.still:
            self.around.frozen.append(f"loss.{name}.teacher")


def same_layer(section: Section, wanted: dict[str, Any], words: str) -> None:
    """Say where a layer of the source is another one than redistill's."""
    for key in beside.other_than(section, wanted):
        section.warn(f"redistill has {words}", key)


def logits(kwargs: Section, around: Around, module: str = "{}_module") -> None:
    """The loss compares logits: the outputs of the models or of their last modules."""
    if not kwargs.has(f"{module.format('student')}_path") and "org_term" not in kwargs.path:
        kwargs.warn(f"torchdistill 1.x stops without `{module.format('student')}_path`; the models' outputs are taken")
    for side in SIDES:
        path_key, io_key = f"{module.format(side)}_path", f"{module.format(side)}_io"
        path = str(kwargs.data.get(path_key, "."))
        if is_logits(path, side, kwargs.data.get(io_key, "output"), around):
            kwargs.use(path_key, io_key)
            check_hook(kwargs, path_key, side, path, around)
        reason = "this loss compares logits in redistill, and this is another module's value"
        kwargs.leave(reason, path_key, io_key)


def is_logits(path: str, side: str, io: object, around: Around) -> bool:
    """Whether a module's value is the model's logits."""
    return unwrapped(path, side, around) in LOGITS and io == "output"
