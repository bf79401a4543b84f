"""The speed of the engine beside its peers, in one run on one machine.

python benchmarks/speed.py [PART...]     writes benchmarks/results/speed-PART.json for each part

Parts: text, evaluation, image, ways, start, memory, scaling, score. Texts are MRPC's and images CIFAR-10's where
REDISTILL_SHARED_DATA names a folder that has them (`glue_hub/mrpc`, `cifar10`), else movie reviews and digits of the
embedded study. Every tool gets both cores in two ways, one run on all threads and one-thread runs side by side, and the
better way counts. The tools take turns, REPEATS times, so that what else the machine does falls on all of them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import yaml
from ours import WAYS

from redistill import forge
from redistill.config.check import check_experiment
from redistill.environment import THREADS
from redistill.plan import lay_out as lay_out_plan
from redistill.plan import make_plan
from redistill.provenance import record, store
from redistill.specification import write_specifications

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "benchmarks" / "scratch"
PROJECT, SHARED = SCRATCH / "project", SCRATCH / "shared"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
REPEATS, STEPS, WARM = 3, 15, 3  # of these steps the first ones are not counted
SEEDS = (0, 1, 2)
LIMIT = 3600  # seconds that any one command may take
CORES = os.cpu_count() or 1
DEVICE = "cuda" if Path("/dev/nvidiactl").exists() else "cpu"
HALF = DEVICE == "cuda" or {"avx512_bf16", "amx_bf16"} & set(record.machine()["features"])  # units for bfloat16
BF16 = ("--precision", "bfloat16")
Result = dict[str, Any]
Command = Callable[[int, Path], list[str]]  # threads, and the file to write


# --- the project, and what both sides share -----------------------------------------------------------------------


def lay_out() -> None:
    """A project with the benchmark's study, made, and the same data and weights for the peers."""
    for folder in ("configs", "envs", "workflow", "profiles"):
        shutil.copytree(ROOT / folder, PROJECT / folder, dirs_exist_ok=True)
    shutil.copytree(ROOT / "benchmarks" / "configs", PROJECT / "configs", dirs_exist_ok=True)
    shutil.copyfile(ROOT / "Snakefile", PROJECT / "Snakefile")
    _say_where_the_data_is(os.environ.get("REDISTILL_SHARED_DATA"))
    key, ready = make_plan(PROJECT, "speed").target.key, SHARED / "ready"
    if ready.is_file() and ready.read_text(encoding="utf-8") == key:
        return
    _make_study("speed")
    shutil.rmtree(SHARED, ignore_errors=True)
    _ours("share.py")
    ready.write_text(key, encoding="utf-8")


def _say_where_the_data_is(shared: str | None) -> None:
    tasks, sources = PROJECT / "configs" / "tasks" / "speed", PROJECT / "configs" / "sources.yaml"
    tasks.mkdir(parents=True, exist_ok=True)
    known = yaml.safe_load(sources.read_text(encoding="utf-8"))
    texts: Result = {"extends": "../movie", "title": "Texts", "splits": {"train": 3000, "select": 100, "dev": 1500}}
    images: Result = {"extends": "../digits", "title": "Images"}
    if shared and (Path(shared) / "glue_hub").is_dir():
        known["glue-mrpc"]["origin"] = {"type": "folder", "variable": "REDISTILL_SHARED_DATA", "path": "glue_hub"}
        texts = {"extends": "../glue/mrpc", "title": "Texts"}
    if shared and (Path(shared) / "cifar10").is_dir():
        files = {split: f"{split}-00000-of-00001.parquet" for split in ("train", "test")}
        digests = {name: store.sha256_file(Path(shared) / "cifar10" / name) for name in files.values()}
        known["cifar10"]["origin"] = {"type": "folder", "variable": "REDISTILL_SHARED_DATA", "path": "cifar10"}
        known["cifar10"]["files"] = digests
        images = {"extends": "../cifar/cifar10", "title": "Images", "reader": {"files": files},
                  "splits": {"sample": True}}  # fmt: skip
    sources.write_text(yaml.safe_dump(known), encoding="utf-8")
    for name, value in (("texts", texts), ("images", images)):
        (tasks / f"{name}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")


def _ours(program: str) -> None:
    """A program of this folder, inside the project."""
    arguments = [sys.executable, str(ROOT / "benchmarks" / program)]
    subprocess.run(arguments, cwd=PROJECT, env=_environment(), check=True, timeout=LIMIT)


def _make_study(name: str) -> None:
    arguments = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--config", f"study={name}"]
    subprocess.run(arguments, cwd=PROJECT, env=_environment(), check=True, timeout=LIMIT)


def _environment(threads: int = 1) -> dict[str, str]:
    variables = dict.fromkeys(THREADS, str(threads))
    return {
        **os.environ,
        **variables,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "0",
    }


# --- commands, one run on all threads or as many runs as there are cores ------------------------------------------


def our_command(what: str, experiment: str, *more: str) -> Command:
    return lambda threads, out: [
        sys.executable, str(ROOT / "benchmarks" / "ours.py"), what, experiment, "--threads", str(threads),
        "--device", DEVICE, "--out", str(out), *more,
    ]  # fmt: skip


def peer_command(program: str, tool: str, *more: str) -> Command:
    data = SHARED / ("images" if program == "image" else "texts")
    return lambda threads, out: [
        str(PEERS), str(ROOT / "benchmarks" / "peers" / f"{program}.py"), tool, str(data), "--threads", str(threads),
        "--device", DEVICE, "--out", str(out), *more,
    ]  # fmt: skip


def run(command: Command, processes: int) -> list[Result]:
    """Run it with all threads, or as so many one-thread processes at once; what each of them found."""
    return _at_once([command] * processes)


def _at_once(commands: list[Command]) -> list[Result]:
    """Run commands side by side, the cores shared out among them."""
    threads = CORES // len(commands)
    files = [SCRATCH / f"out-{i}.json" for i in range(len(commands))]
    children = []
    for command, file in zip(commands, files, strict=True):
        file.unlink(missing_ok=True)
        with file.with_suffix(".log").open("w") as said:
            children.append(
                subprocess.Popen(
                    command(threads, file), cwd=PROJECT, env=_environment(threads), stdout=subprocess.DEVNULL,
                    stderr=said,
                )
            )  # fmt: skip
    try:
        for child, file in zip(children, files, strict=True):
            if child.wait(timeout=LIMIT):
                words = file.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
                sys.exit(f"{' '.join(map(str, child.args))}\n{words[-2000:]}")
    finally:
        for child in children:
            child.kill()
            child.wait()
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def rate(found: list[Result], length: float | None) -> float:
    """Samples a second of all processes together, without the first steps.

    Batches differ in length, and so short a measurement sees few of them. Of texts, real tokens a second are counted,
    and divided by the mean `length` of an example.
    """
    total = 0.0
    for one in found:
        steps = one["real_tokens_per_step"] if length else one["samples_per_step"]
        total += sum(steps[WARM:]) / (length or 1) / sum(one["seconds_per_step"][WARM:])
    return total


def in_turns(tools: dict[str, Command], rate_of: Callable[[list[Result]], float]) -> Result:
    """Each tool's rates in both ways, REPEATS times in turns; and the better way's."""
    rates: dict[str, dict[str, list[float]]] = {tool: {"one run": [], "side by side": []} for tool in tools}
    padding: dict[str, float] = {}
    for _ in range(REPEATS):
        for tool, command in tools.items():
            for way, processes in (("one run", 1), ("side by side", CORES)):
                found = run(command, processes)
                rates[tool][way].append(rate_of(found))
                if "computed_tokens" in found[0]:
                    padding[tool] = round(1 - found[0]["real_tokens"] / found[0]["computed_tokens"], 4)
                print(f"{tool}, {way}: {rates[tool][way][-1]:.1f} samples/s", flush=True)
    return {tool: _better(ways) | {"padding share": padding.get(tool)} for tool, ways in rates.items()}


def _better(ways: dict[str, list[float]]) -> Result:
    return {**{way: spread(values) for way, values in ways.items()}, "best": max(map(median, ways.values()))}


def spread(values: list[float]) -> Result:
    return {"median": round(median(values), 2), "least": round(min(values), 2), "most": round(max(values), 2)}


def ratios(tools: Result, ours: str, others: list[str]) -> Result:
    return {f"{ours} over {other}": round(tools[ours]["best"] / tools[other]["best"], 2) for other in others}


# --- parts ----------------------------------------------------------------------------------------------------------


def text() -> Result:
    """Training on texts: students distilled and fine-tuned, the machine's products, useful work, padding."""
    steps = ("--steps", str(STEPS))
    tools = {
        "redistill kd": our_command("train", "speed/kd", *steps),
        "torchdistill kd": peer_command("text", "torchdistill-kd", *steps),
        "redistill finetuning": our_command("train", "speed/finetuned", *steps),
        "torchdistill finetuning": peer_command("text", "torchdistill-finetune", *steps),
        "Trainer": peer_command("text", "trainer-fp32", *steps),
        "Trainer, grouped": peer_command("text", "trainer-fp32-grouped", *steps),
    }
    if DEVICE == "cpu":
        tools["redistill finetuning, portable"] = our_command("train", "speed/finetuned", "--portable", *steps)
    against = {
        "redistill kd": ["torchdistill kd"],
        "redistill finetuning": ["torchdistill finetuning", "Trainer", "Trainer, grouped"],
    }
    if HALF:
        tools |= {
            "redistill kd, bf16": our_command("train", "speed/kd", *BF16, *steps),
            "redistill finetuning, bf16": our_command("train", "speed/finetuned", *BF16, *steps),
            "Trainer, bf16": peer_command("text", "trainer-bf16", *steps),
            "Trainer, bf16, grouped": peer_command("text", "trainer-bf16-grouped", *steps),
        }
        against["redistill kd, bf16"] = ["torchdistill kd"]
        against["redistill finetuning, bf16"] = ["torchdistill finetuning", "Trainer", "Trainer, bf16, grouped"]
    shape = json.loads((SHARED / "texts" / "shape.json").read_text(encoding="utf-8"))
    found = in_turns(tools, lambda found: rate(found, shape["mean_length"]))
    limits = _limits()
    work = {name: _useful(rates["best"], shape) / limits["bfloat16" if "bf16" in name else "float32"]
            for name, rates in found.items() if name.startswith("redistill")}  # fmt: skip
    passes = {name: _teacher_passes(*more) for name, more in (("redistill kd", ()), ("redistill kd, bf16", BF16))
              if name in found}  # fmt: skip
    for name, seconds in passes.items():  # one teacher pass serves all epochs of all seeds
        alone = found[name]["best without teacher passes"] = found[name]["best"]
        student = shape["epochs"] * shape["train"] / alone
        found[name]["best"] = round(shape["epochs"] * shape["train"] / (student + seconds / len(SEEDS)), 2)
    return {
        "samples per second": found,
        "ratios": {name: r for ours, others in against.items() for name, r in ratios(found, ours, others).items()},
        "seconds of a teacher's pass over train": {name: round(seconds, 1) for name, seconds in passes.items()},
        "cost of a distilled student over a fine-tuned one": {
            name: round(found[name.replace("kd", "finetuning")]["best"] / found[name]["best"], 3) for name in passes
        },
        "products, GFLOP/s": {name: round(limit, 1) for name, limit in limits.items()},
        "useful share of it": {name: round(share, 3) for name, share in work.items()},
        "data": shape,
    }  # fmt: skip


def _teacher_passes(*more: str) -> float:
    """Seconds of a pass over the training split with all cores: as many at once as there are cores, shared out."""
    command = our_command("outputs", "speed/kd", *more)
    return min(max(one["seconds"] for one in run(command, CORES)) / CORES for _ in range(REPEATS))


def _limits() -> Result:
    """GFLOP/s of the machine's matrix products by type: the better of both ways to use its cores."""
    found = [run(_products, processes) for processes in (1, CORES) for _ in range(REPEATS)]
    return {name: max(sum(one[name] for one in some) for some in found) for name in found[0][0] if found[0][0][name]}


def _products(threads: int, out: Path) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / "products.py"), str(threads), DEVICE, str(out)]


def _useful(samples_per_second: float, shape: Result) -> float:
    """GFLOP/s that a student's training needs: real tokens, no padding, nothing computed twice.

    The last layer needs keys and values of all tokens, and the rest of the first token alone. 2 operations a weight
    forward, 4 backward; attention's products among them.
    """
    hidden, inner, layers, length = shape["hidden"], shape["inner"], shape["layers"], shape["mean_length"]
    whole = length * (4 * hidden**2 + 2 * hidden * inner) + 2 * length**2 * hidden
    last = length * 2 * hidden**2 + 2 * hidden**2 + 2 * hidden * inner + 2 * length * hidden
    return samples_per_second * 6 * ((layers - 1) * whole + last) / 1e9


def score() -> Result:
    """Whole runs, three seeds: do both sides reach the same score, and how long do three students take?"""
    found: Result = {"redistill kd": _students("float32")}
    if HALF:
        found["redistill kd, bf16"] = _students("bfloat16")
    began, done, waiting = time.perf_counter(), list[Result](), list(SEEDS)
    while waiting:
        now, waiting = waiting[:CORES], waiting[CORES:]
        done += _at_once(
            [peer_command("text", "torchdistill-kd", "--epochs", "2", "--seed", str(seed)) for seed in now]
        )
    found["torchdistill kd"] = _finished(began, [fmean(one["score"].values()) for one in done])
    theirs = found["torchdistill kd"]["seconds of three students"]
    found["students made per hour, ratio"] = {
        name: round(theirs / one["seconds of three students"], 2) for name, one in found.items() if "redistill" in name
    }
    return found


def _students(precision: str) -> Result:
    """Three students by Snakemake, with the teacher's outputs; the teacher is there, as it is for the peer."""
    name = f"speed-{precision}"
    study = yaml.safe_load((PROJECT / "configs" / "studies" / "speed.yaml").read_text(encoding="utf-8"))
    study["runtime"] |= {"precision": precision}
    rows = [{"experiment": "speed/kd-whole", "seeds": list(SEEDS)}]
    study["tables"] = {"text": {**study["tables"]["text"], "rows": [{"experiment": "speed/teacher"}]}}
    file = PROJECT / "configs" / "studies" / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    _make_study(name)
    study["tables"]["text"]["rows"] = rows
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    for node in make_plan(PROJECT, name).nodes.values():
        if node.kind in ("outputs", "student", "cell", "table", "study"):  # what was made before is made anew
            shutil.rmtree(node.folder(PROJECT), ignore_errors=True)
    began = time.perf_counter()
    _make_study(name)
    metrics = json.loads((PROJECT / "results" / name / "metrics.json").read_text(encoding="utf-8"))
    return _finished(began, list(metrics["text"]["speed/kd-whole"]["speed/texts"].values()))


def _finished(began: float, scores: list[float]) -> Result:
    seconds = round(time.perf_counter() - began, 1)
    return {"seconds of three students": seconds, "score": spread([100 * value for value in scores])}


def evaluation() -> Result:
    """Predictions of a student."""
    tools = {
        "redistill": our_command("predict", "speed/finetuned"),
        "Trainer.predict": peer_command("text", "trainer-predict"),
    }
    found = in_turns(tools, lambda found: sum(one["samples_per_second"] for one in found))
    return {"samples per second": found, "ratios": ratios(found, "redistill", ["Trainer.predict"])}


def image() -> Result:
    """Distillation on images, WRN-40-2 to WRN-16-2, without augmentation, which redistill does not have yet."""
    shape = json.loads((SHARED / "images" / "shape.json").read_text(encoding="utf-8"))
    if shape["shape"] != [3, 32, 32]:
        return {"not measured": "REDISTILL_SHARED_DATA names no folder with `cifar10`"}
    steps, ours = ("--steps", "9"), ("--task", "speed/images")
    tools = {
        "redistill kd": our_command("train", "speed/image-kd", *ours, *steps),
        "torchdistill kd": peer_command("image", "torchdistill-kd", "--workers", "0", *steps),
    }
    if HALF:
        tools["redistill kd, bf16"] = our_command("train", "speed/image-kd", *ours, "--precision", "bfloat16", *steps)
    found = in_turns(tools, lambda found: rate(found, None))
    passes = run(our_command("outputs", "speed/image-kd", *ours), 1)[0]
    each = passes["seconds"] / passes["examples"]  # seconds of the teacher an image, once; shared by seeds and epochs
    return {
        "samples per second": found,
        "ratios": {
            name: value
            for one_of_ours in tools if one_of_ours.startswith("redistill")
            for name, value in ratios(found, one_of_ours, ["torchdistill kd"]).items()
        },
        "ratio with one teacher pass for every one epoch of one student":
            round(1 / (1 / found["redistill kd"]["best"] + each) / found["torchdistill kd"]["best"], 2),
        "teacher's seconds an image": round(each, 5), "data": shape,
    }  # fmt: skip


def ways() -> Result:
    """What each way is worth: fine-tuning with one of them left out, one-thread runs side by side."""
    shape = json.loads((SHARED / "texts" / "shape.json").read_text(encoding="utf-8"))
    left_out: dict[str, tuple[str, ...]] = {"nothing": ()} | {way: ("--without", way) for way in (*WAYS, "all")}
    precisions = {"float32": ()} | ({"bfloat16": BF16} if HALF else {})
    rates: dict[str, dict[str, list[float]]] = {p: {way: [] for way in left_out} for p in precisions}
    for _ in range(REPEATS):
        for precision, said in precisions.items():
            for way, more in left_out.items():
                command = our_command("train", "speed/finetuned", "--steps", str(STEPS), *said, *more)
                rates[precision][way].append(rate(run(command, CORES), shape["mean_length"]))
    return {
        f"{precision}, times as fast with": {
            way: _times(found["nothing"], found[way]) for way in left_out if way != "nothing"
        }
        for precision, found in rates.items()
    } | {
        "samples a second without": {
            f"{way}, {precision}": spread(values) for precision, found in rates.items() for way, values in found.items()
        },
        "data": shape,
    }  # fmt: skip


def _times(whole: list[float], without: list[float]) -> Result:
    """Turn by turn, so that what else the machine did falls on both."""
    return spread([one / other for one, other in zip(whole, without, strict=True)])


def start() -> Result:
    """Seconds from a command to the first step of a text run, over the bare import of torch; warm, each of five: of a
    command alone, and of one of many jobs, which are forks of a process that has imported all they need.
    """
    plan = lay_out_plan(
        PROJECT, check_experiment(PROJECT, "speed/finetuned", ["speed/texts"], [7], "speed")
    )  # which nothing else trains
    node = plan.nodes[plan.runs[0].key]
    write_specifications(plan, [node.key])
    times: dict[str, list[float]] = {"import torch": [], "a command alone": [], "a job of many": []}
    with forge.lit(PROJECT, [(node.kind, node.config)]):
        _until_first_step("redistill.job", node.key)  # waits for the imports
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch"], check=True, env=_environment(), timeout=LIMIT)
            times["import torch"].append(time.perf_counter() - began)
            times["a command alone"].append(_until_first_step("redistill", node.key))
            times["a job of many"].append(_until_first_step("redistill.job", node.key))
    torch = median(times["import torch"])
    over = {name: round(median(values) - torch, 2) for name, values in times.items() if name != "import torch"}
    return {"seconds": {name: spread(values) for name, values in times.items()}, "over the import of torch": over}


def _until_first_step(module: str, key: str) -> float:
    """Seconds until a job that makes a run says that its first stage begins; then it is stopped."""
    began = time.perf_counter()
    command = [sys.executable, "-m", module, "make", key]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as job:
        assert job.stdout is not None
        said = next((line for line in job.stdout if line.startswith("stage 0: ")), None)
        seconds = time.perf_counter() - began
        job.kill()
    if said is None:
        sys.exit(f"{' '.join(command)}: ended before its first step")
    return seconds


def scaling() -> Result:
    """How time grows with tokens, steps and students: what the estimates of `redistill plan` rest on."""
    shape = json.loads((SHARED / "texts" / "shape.json").read_text(encoding="utf-8"))
    found = [run(our_command("train", "speed/kd", "--steps", str(steps)), 1)[0] for steps in (10, 40, 115)]
    long = found[-1]
    tokens, seconds = np.array(long["real_tokens_per_step"][WARM:]), np.array(long["seconds_per_step"][WARM:])
    slope, start = np.polyfit(tokens, seconds, 1)
    explained = 1 - np.var(seconds - (start + slope * tokens)) / np.var(seconds)
    student = shape["epochs"] * shape["train"] * shape["mean_length"] * sum(seconds) / sum(tokens)
    passes = _teacher_passes() * CORES
    return {
        "seconds of steps, by steps": {
            len(one["seconds_per_step"]): round(sum(one["seconds_per_step"]), 2) for one in found
        },
        "a step": {
            "milliseconds": round(1000 * start, 1), "and per 1,000 tokens": round(1e6 * slope, 1),
            "share of the variance that tokens explain": round(explained, 3), "steps": len(tokens),
        },
        "seconds of a distilled student with its share of the teacher's pass, by students a teacher": {
            students: round(student + passes / students, 1) for students in (1, 3, 10, 100)
        },
    }  # fmt: skip


def memory() -> Result:
    """Memory of a training job over its steps, and over weights, gradients, optimiser and activations."""
    if DEVICE != "cpu":
        return {"not measured": "the memory of the process is counted, not that of a GPU"}
    found = run(our_command("train", "speed/finetuned", "--steps", "100", "--memory"), CORES)[0]
    used = [round(value / 2**20) for value in found["memory"]]
    grown = max(found["memory"]) / 2**20 - found["before"] / 2**20
    return {
        "MiB after steps 10, 25, 50, 100": [used[i - 1] for i in (10, 25, 50, 100)],
        "MiB before the run is built": round(found["before"] / 2**20),
        "MiB needed": found["needed"],
        "grown over needed": round(grown / sum(found["needed"].values()), 2),
    }


PARTS = {part.__name__: part for part in (text, evaluation, image, ways, start, memory, scaling, score)}


def _result(part: str) -> Path:
    return ROOT / "benchmarks" / "results" / f"speed-{part}{'-cuda' * (DEVICE == 'cuda')}.json"


def main() -> None:
    asked = sys.argv[1:] or list(PARTS)
    if unknown := sorted(set(asked) - set(PARTS)):
        sys.exit(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    if not PEERS.is_file():
        subprocess.run(["bash", str(ROOT / "benchmarks" / "peers" / "setup.sh")], check=True, timeout=LIMIT)
    lay_out()
    for part in asked:
        result = {"command": f"python benchmarks/speed.py {part}", "machine": record.machine(), "cores": CORES,
                  "repeats": REPEATS, **PARTS[part]()}  # fmt: skip
        store.write_atomically(_result(part), store.pretty(result))
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
