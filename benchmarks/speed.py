"""The speed of the engine beside its peers, in one run on one machine.

python benchmarks/speed.py [PART...]     writes benchmarks/results/speed-PART.json for each part

Parts: text, score, evaluation, image, ways, start, memory. Texts are MRPC's and images CIFAR-10's where
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

import yaml
from ours import WAYS

from redistill.provenance import record, store

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "benchmarks" / "scratch"
PROJECT, SHARED = SCRATCH / "project", SCRATCH / "shared"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
REPEATS, STEPS, WARM = 3, 20, 3  # of these steps the first ones are not counted
SEEDS = (0, 1, 2)
LIMIT = 3600  # seconds that any one command may take
CORES = os.cpu_count() or 1
HALF = {"avx512_bf16", "amx_bf16"} & set(record.machine()["features"])  # units for bfloat16
Result = dict[str, Any]


# --- the project, and what both sides share -----------------------------------------------------------------------


def lay_out() -> None:
    """A project with the benchmark's study, made, and the same data and weights for the peers."""
    if (SHARED / "ready").is_file():
        return
    shutil.rmtree(SCRATCH, ignore_errors=True)
    PROJECT.mkdir(parents=True)
    for folder in ("configs", "envs", "workflow", "profiles"):
        shutil.copytree(ROOT / folder, PROJECT / folder)
    shutil.copytree(ROOT / "benchmarks" / "configs", PROJECT / "configs", dirs_exist_ok=True)
    shutil.copyfile(ROOT / "Snakefile", PROJECT / "Snakefile")
    _say_where_the_data_is(os.environ.get("REDISTILL_SHARED_DATA"))
    for experiment, task in (("kd", "texts"), ("finetuned", "texts"), ("image-kd", "images")):
        _ours("redistill", "run", f"speed/{experiment}", "--task", f"speed/{task}", "--seed", "0", "--study", "speed")
    _ours("share")
    (SHARED / "ready").touch()


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


def _ours(*command: str) -> None:
    arguments = (
        ["-m", *command] if command[0] == "redistill" else [str(ROOT / "benchmarks" / f"{command[0]}.py"), *command[1:]]
    )
    subprocess.run([sys.executable, *arguments], cwd=PROJECT, env=_environment(), check=True, timeout=LIMIT)


def _environment(threads: int = 1) -> dict[str, str]:
    variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {
        **os.environ,
        **variables,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "0",
    }


# --- commands, one run on all threads or as many runs as there are cores ------------------------------------------


def our_command(what: str, experiment: str, *more: str) -> Callable[[int, Path], list[str]]:
    return lambda threads, out: [
        sys.executable, str(ROOT / "benchmarks" / "ours.py"), what, experiment, "--threads", str(threads),
        "--out", str(out), *more,
    ]  # fmt: skip


def peer_command(program: str, tool: str, *more: str) -> Callable[[int, Path], list[str]]:
    data = SHARED / ("images" if program == "image" else "texts")
    return lambda threads, out: [
        str(PEERS), str(ROOT / "benchmarks" / "peers" / f"{program}.py"), tool, str(data), "--threads", str(threads),
        "--out", str(out), *more,
    ]  # fmt: skip


def run(command: Callable[[int, Path], list[str]], processes: int) -> list[Result]:
    """Run it with all threads, or as so many one-thread processes at once; what each of them found."""
    threads = 1 if processes > 1 else CORES
    files = [SCRATCH / f"out-{i}.json" for i in range(processes)]
    children = []
    for file in files:
        file.unlink(missing_ok=True)
        children.append(
            subprocess.Popen(
                command(threads, file), cwd=PROJECT, env=_environment(threads), stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    try:
        for child in children:
            _, said = child.communicate(timeout=LIMIT)
            if child.returncode:
                sys.exit(f"{' '.join(map(str, child.args))}\n{said[-2000:]}")
    finally:
        for child in children:
            child.kill()
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def rate(found: list[Result], length: float | None) -> float:
    """Samples a second of all processes together, without the first steps.

    Batches differ in length, and so short a measurement sees few of them. Of texts, real tokens a second are counted,
    and divided by the mean `length` of an example.
    """
    total = 0.0
    for one in found:
        seconds = one["seconds_per_step"]
        share = sum(seconds[WARM:]) / sum(seconds)  # of the tokens, about
        steps = one.get("samples_per_step") or [one["samples"] / len(seconds)] * len(seconds)
        counted = one["real_tokens"] * share / length if length else sum(steps[WARM:])
        total += counted / sum(seconds[WARM:])
    return total


def in_turns(tools: dict[str, Callable[[int, Path], list[str]]], length: float | None) -> Result:
    """Each tool's rates in both ways, REPEATS times in turns; and the better way's."""
    rates: dict[str, dict[str, list[float]]] = {tool: {"one run": [], "side by side": []} for tool in tools}
    padding: dict[str, float] = {}
    for _ in range(REPEATS):
        for tool, command in tools.items():
            for way, processes in (("one run", 1), ("side by side", CORES)):
                found = run(command, processes)
                rates[tool][way].append(rate(found, length))
                if "computed_tokens" in found[0]:
                    padding[tool] = round(1 - found[0]["real_tokens"] / found[0]["computed_tokens"], 4)
                print(f"{tool}, {way}: {rates[tool][way][-1]:.1f} samples/s", flush=True)
    return {tool: _better(ways) | {"padding share": padding.get(tool)} for tool, ways in rates.items()}


def _better(ways: dict[str, list[float]]) -> Result:
    return {**{way: _spread(values) for way, values in ways.items()}, "best": max(map(median, ways.values()))}


def _spread(values: list[float]) -> Result:
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
        "redistill finetuning, portable": our_command("train", "speed/finetuned", "--portable", *steps),
    }
    if HALF:
        half = ("--precision", "bfloat16")
        tools |= {
            "redistill kd, bf16": our_command("train", "speed/kd", *half, *steps),
            "redistill finetuning, bf16": our_command("train", "speed/finetuned", *half, *steps),
            "Trainer, bf16": peer_command("text", "trainer-bf16", *steps),
            "Trainer, bf16, grouped": peer_command("text", "trainer-bf16-grouped", *steps),
        }
    shape = json.loads((SHARED / "texts" / "shape.json").read_text(encoding="utf-8"))
    found = in_turns(tools, shape["mean_length"])
    passes = min(
        max(one["seconds"] for one in run(our_command("outputs", "speed/kd"), CORES)) / CORES for _ in range(REPEATS)
    )
    for name in [name for name in found if name.startswith("redistill kd")]:
        found[name]["best without teacher passes"] = found[name]["best"]
        student = shape["epochs"] * shape["train"] / found[name]["best"]  # seconds; one teacher pass serves all seeds
        found[name]["best"] = shape["epochs"] * shape["train"] / (student + passes / len(SEEDS))
    limit = max(sum(one["float32"] for one in run(_products, processes)) for processes in (1, CORES))
    work = {name: _useful(found[name]["best without teacher passes" if "kd" in name else "best"], shape) / limit
            for name in found if name.startswith("redistill") and "bf16" not in name}  # fmt: skip
    against = [
        *ratios(found, "redistill kd", ["torchdistill kd"]).items(),
        *ratios(found, "redistill finetuning", ["torchdistill finetuning", "Trainer", "Trainer, grouped"]).items(),
    ]
    if HALF:
        against += ratios(found, "redistill kd, bf16", ["torchdistill kd"]).items()
        against += ratios(found, "redistill finetuning, bf16",
                          ["torchdistill finetuning", "Trainer", "Trainer, bf16, grouped"]).items()  # fmt: skip
    return {
        "samples per second": found, "ratios": dict(against), "teacher passes, seconds": round(passes, 1),
        "cost of a distilled student over a fine-tuned one":
            round(found["redistill finetuning"]["best"] / found["redistill kd"]["best"], 3),
        "products, GFLOP/s": round(limit, 1), "useful share of it": {k: round(v, 3) for k, v in work.items()},
        "data": shape,
    }  # fmt: skip


def _products(threads: int, out: Path) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / "products.py"), str(threads), str(out)]


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
    """Whole runs of one epoch, three seeds: do both sides reach the same score, and how long do three students take?"""
    found: Result = {}
    began = time.perf_counter()
    arguments = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--config", "study=speed-score"]
    _study_of_scores()
    subprocess.run(arguments, cwd=PROJECT, env=_environment(), check=True, timeout=LIMIT)
    seconds = time.perf_counter() - began
    cells = {}
    for file in (PROJECT / "store" / "results").glob("*/metrics.json"):
        title = json.loads((PROJECT / "store" / "records" / f"{file.parent.name}.json").read_text())["what"]
        cells[title] = json.loads(file.read_text(encoding="utf-8"))
    found["redistill kd"] = {"seconds for 3 students and the teacher's outputs": round(seconds, 1),
                             "score": _scores(cells["speed/kd · speed/texts"]["dev"])}  # fmt: skip
    began, done, waiting = time.perf_counter(), list[Result](), list(SEEDS)
    while waiting:
        now, waiting = waiting[:CORES], waiting[CORES:]
        children = []
        for seed in now:
            command = peer_command("text", "torchdistill-kd", "--seed", str(seed))(
                CORES // len(now), SCRATCH / f"seed-{seed}.json"
            )
            children.append(
                subprocess.Popen(
                    command, env=_environment(CORES // len(now)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        if any(child.wait(timeout=LIMIT) for child in children):
            sys.exit("torchdistill failed")
        done += [json.loads((SCRATCH / f"seed-{seed}.json").read_text(encoding="utf-8")) for seed in now]
    seconds = time.perf_counter() - began
    values = [fmean(one["score"].values()) for one in done]
    found["torchdistill kd"] = {
        "seconds for 3 students": round(seconds, 1),
        "score": _spread([100 * v for v in values]),
    }
    ours = found["redistill kd"]["seconds for 3 students and the teacher's outputs"]
    found["students made per hour, ratio"] = round(seconds / ours, 2)
    return found


def _scores(dev: Result) -> Result:
    return _spread([100 * one["value"] for one in dev.values()])


def _study_of_scores() -> None:
    study = yaml.safe_load((PROJECT / "configs" / "studies" / "speed.yaml").read_text(encoding="utf-8"))
    rows = [{"experiment": "speed/kd"}]
    study["tables"] = {"text": {"title": "Texts", "tasks": ["speed/texts"], "seeds": list(SEEDS), "rows": rows}}
    (PROJECT / "configs" / "studies" / "speed-score.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    made = json.loads((SHARED / "texts" / "shape.json").read_text(encoding="utf-8"))["students"]
    for key in made:  # students are made anew; the teacher was made before, as it was for the peer
        shutil.rmtree(PROJECT / "store" / "runs" / key, ignore_errors=True)
    for folder in (PROJECT / "store" / "outputs").glob("*"):
        shutil.rmtree(folder)


def evaluation() -> Result:
    """Predictions of a student."""
    tools = {
        "redistill": our_command("predict", "speed/finetuned"),
        "Trainer.predict": peer_command("text", "trainer-predict"),
    }
    rates: dict[str, dict[str, list[float]]] = {tool: {"one run": [], "side by side": []} for tool in tools}
    for _ in range(REPEATS):
        for tool, command in tools.items():
            for way, processes in (("one run", 1), ("side by side", CORES)):
                rates[tool][way].append(sum(one["samples_per_second"] for one in run(command, processes)))
                print(f"{tool}, {way}: {rates[tool][way][-1]:.1f} samples/s", flush=True)
    found = {tool: _better(ways) for tool, ways in rates.items()}
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
    found = in_turns(tools, None)
    passes = run(our_command("outputs", "speed/image-kd", *ours), 1)[0]
    each = passes["seconds"] / passes["examples"]  # seconds of the teacher an image, once; shared by seeds and epochs
    return {
        "samples per second": found, "ratios": ratios(found, "redistill kd", ["torchdistill kd"]),
        "ratio with one teacher pass for every one epoch of one student":
            round(1 / (1 / found["redistill kd"]["best"] + each) / found["torchdistill kd"]["best"], 2),
        "teacher's seconds an image": round(each, 5), "data": shape,
    }  # fmt: skip


def ways() -> Result:
    """What each way is worth: fine-tuning with one of them left out, one-thread runs side by side."""
    shape = json.loads((SHARED / "texts" / "shape.json").read_text(encoding="utf-8"))
    steps = ("--steps", str(STEPS))
    tools = {"nothing left out": our_command("train", "speed/finetuned", *steps)}
    for way in (*WAYS, "all"):
        tools[way] = our_command("train", "speed/finetuned", *steps, "--without", way)
    rates: dict[str, list[float]] = {tool: [] for tool in tools}
    for _ in range(REPEATS):
        for tool, command in tools.items():
            rates[tool].append(rate(run(command, CORES), shape["mean_length"]))
    whole = median(rates["nothing left out"])
    return {
        "samples a second without": {tool: _spread(found) for tool, found in rates.items()},
        "times as fast with": {tool: round(whole / median(rates[tool]), 3) for tool in (*WAYS, "all")},
        "data": shape,
    }  # fmt: skip


def start() -> Result:
    """Seconds until the first step of a text run, over the bare import of torch; warm, each of five."""
    times: dict[str, list[float]] = {"import torch": [], "to the first step": []}
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True, env=_environment(), timeout=LIMIT)
        times["import torch"].append(time.perf_counter() - began)
        began = time.perf_counter()
        found = run(our_command("train", "speed/finetuned", "--steps", "1"), CORES)[0]
        times["to the first step"].append(time.perf_counter() - began - sum(found["seconds_per_step"]))
    over = min(times["to the first step"]) - min(times["import torch"])
    return {"seconds": {name: _spread(v) for name, v in times.items()}, "over the import of torch": round(over, 2)}


def memory() -> Result:
    """Memory of a training job over its steps, and over weights, gradients, optimiser and activations."""
    found = run(our_command("train", "speed/finetuned", "--steps", "60"), CORES)[0]
    used = [round(value / 2**20) for value in found["memory"]]
    return {"MiB after steps 5, 20, 40, 60": [used[i - 1] for i in (5, 20, 40, 60)], "peak MiB": found["peak_mib"]}


PARTS = {part.__name__: part for part in (text, score, evaluation, image, ways, start, memory)}


def written() -> str:
    """What the result files say, as tables in Markdown."""
    lines = []
    for part in PARTS:
        file = ROOT / "benchmarks" / "results" / f"speed-{part}.json"
        if not file.is_file():
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        processor = f"{found['machine']['processor']}, {found['cores']} cores, {' '.join(found['machine']['features'])}"
        lines += [f"### {PARTS[part].__doc__}".rstrip("."), "", f"`{found['command']}`, {processor}.", ""]
        if "samples per second" in found:
            lines += ["| | one run on all cores | runs side by side | better way |", "|---|---|---|---|"]
            lines += [_line(tool, rates) for tool, rates in found["samples per second"].items()]
            lines += ["", "Samples a second: median of the repeats (least to most)."]
        for name in ("machine", "command", "cores", "repeats", "samples per second", "data"):
            found.pop(name, None)
        lines += ["", "| what | |", "|---|---|"]
        for name, value in found.items():
            inner = value if isinstance(value, dict) else {name: value}
            lines += [f"| {name if key == name else f'{name}: {key}'} | {_said(one)} |" for key, one in inner.items()]
        lines.append("")
    return "\n".join(lines).strip() + "\n"


def _line(tool: str, rates: Result) -> str:
    return f"| {tool} | {_said(rates['one run'])} | {_said(rates['side by side'])} | {rates['best']:.1f} |"


def _said(value: Any) -> str:
    if isinstance(value, dict) and "median" in value:
        return f"{value['median']} ({value['least']} to {value['most']})"
    return "; ".join(f"{k}: {_said(v)}" for k, v in value.items()) if isinstance(value, dict) else str(value)


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
        store.write_atomically(ROOT / "benchmarks" / "results" / f"speed-{part}.json", store.pretty(result))
        print(json.dumps(result, indent=1))
    store.write_atomically(ROOT / "benchmarks" / "results" / "speed.md", written())


if __name__ == "__main__":
    main()
