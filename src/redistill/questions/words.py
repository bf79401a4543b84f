"""A thing's config in words: what of it matters to a reader, and where in the config each line stands."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from redistill.questions.kinds import plural

Config = dict[str, Any]
Names = dict[str, str]
Path = tuple[str, ...]
SPLITS = ("train", "select", "dev", "transfer", "test")


class Said(NamedTuple):
    """A line about a thing: its heading, its words, and where in the config they stand."""

    what: str
    words: str
    paths: tuple[Path, ...] = ()


def of(kind: str, config: Config, counted: Config, inputs: dict[str, str]) -> list[Said]:
    """What matters about a thing of this kind.

    Args:
        counted: what data.json has of it.
        inputs: what its inputs are called, by role.
    """
    speak = {
        "run": _run, "baseline": _baseline, "outputs": _outputs, "dataset": _dataset, "tokens": _tokens,
        "data": _source, "model": _source, "cell": _cell, "choice": _choice, "table": _table,
    }.get(kind)  # fmt: skip
    try:
        return list(speak(config, counted, inputs)) if speak else []
    except (LookupError, TypeError, AttributeError):  # of an older redistill, whose configs had other keys
        return [Said("config", json.dumps(config, sort_keys=True, ensure_ascii=False))]


# --- runs ------------------------------------------------------------------------------------------------------------


def _run(config: Config, _: Config, inputs: Names) -> Iterator[Said]:
    yield Said("student", _student(config["student"], inputs.get("start")), (("student",),))
    for name, peer in config.get("peers", {}).items():
        yield Said(f"peer {name}", _student(peer, inputs.get(f"start of peer {name}")), (("peers", name),))
    for name, module in config.get("modules", {}).items():
        fed = f", fed by {module['input']} of {module['of']}"
        yield Said(f"module {name}", component(module) + fed, (("modules", name),))
    for i, stage in enumerate(config["stages"]):
        yield from _stage(stage, ("stages", str(i)), f"stage {i}, " if len(config["stages"]) > 1 else "",
                          inputs.get(f"start of stage {i}"))  # fmt: skip
    if not config["stages"]:
        yield Said("training", "none: the model as it is")
    evaluation = config["evaluation"]
    chosen = "the last"
    if evaluation["checkpoint"] != "last":
        chosen = f"the best by {', '.join(evaluation.get('metrics', []))} on {evaluation.get('split')}"
    yield Said("checkpoint", chosen, (("evaluation",),))
    if "trials" in config:
        yield Said("chosen from", "; ".join(config["trials"]))
    yield _runtime(config)


def _stage(stage: Config, path: Path, head: str, start: str | None) -> Iterator[Said]:
    length = _count(stage["steps"], "step") if stage["steps"] is not None else _count(stage["epochs"], "epoch")
    on = " + ".join(stage["data"]) + (f" (at most {stage['at_most']})" if stage["at_most"] else "")
    passes = f" in {stage['accumulate']} passes" if stage["accumulate"] != 1 else ""
    at = tuple((*path, key) for key in ("steps", "epochs", "batch_size", "data", "at_most", "accumulate"))
    yield Said(f"{head}training", f"{length} of {stage['batch_size']}{passes} on {on}", at)
    optimiser, schedule = stage["optimiser"], stage["schedule"]
    clipped = f", gradient clipped at {number(stage['clip_norm'])}" if stage["clip_norm"] else ""
    decay = f", weight decay {number(optimiser['weight_decay'])}" if "weight_decay" in optimiser else ""
    said = f"{component(optimiser)}, rate {number(optimiser['learning_rate'])}{decay}{clipped}; {component(schedule)}"
    yield Said(f"{head}optimiser", said, tuple((*path, key) for key in ("optimiser", "schedule", "clip_norm")))
    for name, term in stage["loss"].items():
        yield Said(f"{head}loss {name}", _term(term), ((*path, "loss", name),))
    if stage.get("frozen"):
        yield Said(f"{head}not trained", ", ".join(stage["frozen"]), ((*path, "frozen"),))
    if stage.get("trained"):
        yield Said(f"{head}trained alone", ", ".join(stage["trained"]), ((*path, "trained"),))
    if stage.get("rebuild"):
        yield Said(f"{head}goes on with", _student(stage["rebuild"]["student"], start), ((*path, "rebuild"),))


def _term(term: Config) -> str:
    """A term of a loss: its weight, its method with settings, and what it compares."""
    weight = term["weight"]
    factor = f"{number(weight['first'])} to {number(weight['last'])}" if isinstance(weight, dict) else number(weight)
    said = f"{factor} x {component(term)}"
    if term.get("student", "student") != "student":
        said += f" for {term['student']}"
    if term.get("teacher"):
        said += f" of {term['teacher']}"
    taps = term.get("taps")
    if taps:
        ours, theirs = taps["student"], taps["teacher"]
        alike = len(ours) == len(theirs)
        pairs = [f"{a} ~ {b}" for a, b in zip(ours, theirs, strict=True)] if alike else [*ours, *theirs]
        said += f", {'; '.join(pairs)}"
    return said


def component(said: Config) -> str:
    """A component with its settings, as `kd (temperature 2, t_squared true)`."""
    settings = ", ".join(f"{name} {number(value)}" for name, value in said.get("settings", {}).items())
    return f"{said['method']} ({settings})" if settings else str(said["method"])


def number(value: Any) -> str:
    """A value as a config has it; text without quotes, numbers without a needless end."""
    if isinstance(value, float):
        return format(value, "g")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _count(count: int, word: str) -> str:
    return f"{count} {plural(word, count)}"


def _student(student: Config, begins: str | None) -> str:
    said = component(student["architecture"]) if student.get("architecture") else ""
    start = student.get("start")
    if start is None:
        return f"{said}, random weights".removeprefix(", ")
    begun = f"the shape of {begins}, random weights" if start["random"] else f"starts from {begins}"
    layers = f", layers {', '.join(map(str, start['layers']))}" if start["layers"] else ""
    head = ", its head too" if start["head"] else ""
    fresh = f", anew: {', '.join(start['fresh'])}" if start["fresh"] else ""
    return f"{said}, {begun}{layers}{head}{fresh}".removeprefix(", ")


def _runtime(config: Config) -> Said:
    said = config["runtime"]
    threads = _count(said["threads"], "thread")
    processes = f", {said['processes']} processes" if said.get("processes", 1) != 1 else ""
    portable = ", the same bytes on every CPU" if said.get("portable") else ""
    return Said("runtime", f"{said['device']}, {said['precision']}, {threads}{processes}{portable}", (("runtime",),))


def _baseline(config: Config, _: Config, __: Names) -> Iterator[Said]:
    yield Said("baseline", component(config["baseline"]), (("baseline",),))


def _outputs(config: Config, _: Config, __: Names) -> Iterator[Said]:
    yield Said("split", str(config["split"]))


# --- data and results ------------------------------------------------------------------------------------------------


def _dataset(config: Config, counted: Config, _: Names) -> Iterator[Said]:
    if "reader" in config:
        yield Said("read by", component(config["reader"]), (("reader",),))
    splits = counted.get("splits") or {k: v for k, v in config.get("splits", {}).items() if isinstance(v, int)}
    if splits:
        drawn = f", drawn with seed {config['split_seed']}" if "split_seed" in config else ""
        ordered = sorted(splits.items(), key=lambda item: SPLITS.index(item[0]) if item[0] in SPLITS else len(SPLITS))
        yield Said("examples", ", ".join(f"{name} {count}" for name, count in ordered) + drawn, (("splits",),))
    counts = dict(counted.get("counts", {}))
    if "not used" in counted:
        counts["not used"] = counted["not used"]
    if counts:
        yield Said("counted", ", ".join(f"{name} {count}" for name, count in counts.items()))


def _tokens(config: Config, counted: Config, _: Names) -> Iterator[Said]:
    cut = f"; {counted['cut']} of {counted['texts']} texts cut" if "cut" in counted else ""
    yield Said("length", f"at most {config['max_length']} tokens{cut}")


def _source(config: Config, _: Config, __: Names) -> Iterator[Said]:
    origin = config["origin"]
    place = origin.get("package") or origin.get("repository") or origin.get("variable") or ""
    version = origin.get("version") or origin.get("revision") or origin.get("commit") or ""
    where = " ".join(part for part in (origin["type"], place, version) if part)
    yield Said("from", "a folder of the user's" if origin["type"] == "given" else where)
    for name, digest in list(config.get("files", {}).items())[:4]:
        yield Said("file", f"{name}, SHA-256 {digest[:12]}...")
    if len(config.get("files", {})) > 4:
        yield Said("file", f"and {len(config['files']) - 4} more")


def _cell(config: Config, _: Config, __: Names) -> Iterator[Said]:
    yield Said("metric", config["metric"])
    if config.get("trials"):
        yield Said("chosen from", "; ".join(config["trials"]))


def _choice(config: Config, _: Config, __: Names) -> Iterator[Said]:
    yield Said("by", f"{config['metric']} on select")
    yield Said("from", "; ".join(config["trials"]))


def _table(config: Config, _: Config, __: Names) -> Iterator[Said]:
    yield Said("title", config["title"])
