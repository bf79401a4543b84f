"""Results of the benchmarks as tables, from the JSON in benchmarks/results.

python benchmarks/markdown.py     writes goals.md, speed.md, dag.md, estimates.md, methods-cost.md, glue-teachers.md,
                                  makespan.md, scale.md, forecasts.md and gpu.md beside it; benchmarks/readme.py then
                                  copies them into the pages
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]
PARTS = {
    "text": "Training on texts",
    "image": "Distillation on images, WRN-40-2 to WRN-16-2, without augmentation",
    "evaluation": "Predictions of a student on texts",
    "score": "Whole runs, three seeds of distillation on texts",
    "ways": "What each way is worth: fine-tuning on texts, one-thread runs side by side",
    "scaling": "How time grows",
    "start": "From a command to its first step, warm",
    "memory": "Memory of a training job",
}
TEXT, KD, TUNING = "speed-text", "redistill kd", "redistill finetuning"
RATIOS = (TEXT, "ratios")
SIDES, APART = ("redistill", "plain loop"), "difference in standard errors"
# what; what was aimed at; where it is measured: a file, and the path of a value in it
GOALS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("KD on texts over torchdistill, float32", "at least 3", (*RATIOS, f"{KD} over torchdistill kd")),
    ("bfloat16", "at least 6 with units for it", (*RATIOS, f"{KD}, bf16 over torchdistill kd")),
    (
        "KD on texts, three students alone, from Snakemake's start to the table, float32",
        "at least 3",
        ("speed-score", "students made per hour, ratio", KD),
    ),
    (
        "bfloat16",
        "at least 6 with units for it",
        ("speed-score", "students made per hour, ratio", f"{KD}, bf16"),
    ),
    ("Fine-tuning over torchdistill, float32", "at least 2", (*RATIOS, f"{TUNING} over torchdistill finetuning")),
    ("over the Trainer", "at least 1.5", (*RATIOS, f"{TUNING} over Trainer")),
    ("over the Trainer, grouped by length", "at least 1.15", (*RATIOS, f"{TUNING} over Trainer, grouped")),
    (
        "Fine-tuning over torchdistill, bfloat16",
        "at least 4 with units for it",
        (*RATIOS, f"{TUNING}, bf16 over torchdistill finetuning"),
    ),
    ("over the Trainer in float32", "at least 3", (*RATIOS, f"{TUNING}, bf16 over Trainer")),
    ("over the Trainer, grouped by length", "at least 1.5", (*RATIOS, f"{TUNING}, bf16 over Trainer, bf16, grouped")),
    (
        "Cost of a distilled student over a fine-tuned one",
        "at most 1.1",
        (TEXT, "cost of a distilled student over a fine-tuned one", KD),
    ),
    ("Useful FLOP/s over the machine's products, float32", "at least 0.65", (TEXT, "useful share of it", TUNING)),
    ("bfloat16", "at least 0.2", (TEXT, "useful share of it", f"{TUNING}, bf16")),
    ("portable", "", (TEXT, "useful share of it", f"{TUNING}, portable")),
    ("Share of computed tokens that is padding", "at most 0.04", (TEXT, "samples per second", TUNING, "padding share")),
    ("KD on images over torchdistill, float32", "at least 2", ("speed-image", "ratios", f"{KD} over torchdistill kd")),
    ("bfloat16", "at least 3 with units for it", ("speed-image", "ratios", f"{KD}, bf16 over torchdistill kd")),
    (
        "Predictions over Trainer.predict",
        "at least 2",
        ("speed-evaluation", "ratios", "redistill over Trainer.predict"),
    ),
    (
        "Share of the embedded study's wall time that is not work",
        "at most 0.15",
        ("embedded-budget", "not_work_share"),
    ),
    (
        "Seconds to the first step over the import of torch: a command alone",
        "at most 3",
        ("speed-start", "over the import of torch", "a command alone"),
    ),
    ("one of many jobs", "", ("speed-start", "over the import of torch", "a job of many")),
    ("Memory over weights, optimiser and activations", "at most 1.2", ("speed-memory", "grown over needed")),
)


ABOVE = ("machine", "command", "cores", "repeats", "data", "samples per second")  # of a part, said above its table


def read(name: str) -> Result | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def goals() -> list[str]:
    """What was aimed at and what was measured, on a CPU."""
    lines = ["| what | aimed at | measured |", "|---|---|---:|"]
    for what, aim, (file, *path) in GOALS:
        value: Any = read(file)
        for step in path:
            value = value.get(step) if value is not None else None
        if value is not None:
            lines.append(f"| {what} | {aim} | {value} |")
    return lines


def speed() -> list[str]:
    """Every part of benchmarks/speed.py, on each kind of device."""
    lines = list[str]()
    for part, title in PARTS.items():
        for found in filter(None, (read(f"speed-{part}"), read(f"speed-{part}-cuda"))):
            lines += [f"### {title}", "", f"`{found['command']}`, {machine(found)}, {found['cores']} cores.", ""]
            if "samples per second" in found:
                lines += [
                    "| samples/s | one run on all cores | runs side by side | the better way |",
                    "|---|---|---|---|",
                ]
                lines += [_rates(tool, rates) for tool, rates in found["samples per second"].items()]
                lines += ["", f"Median of {found['repeats']} turns (least to most).", ""]
            lines += ["| what | |", "|---|---|"]
            for name, value in found.items():
                if name not in ABOVE:
                    inner = value if isinstance(value, dict) else {"": value}
                    lines += [f"| {name}{': ' * bool(key)}{key} | {said(one)} |" for key, one in inner.items()]
            lines.append("")
    return lines


def _rates(tool: str, rates: Result) -> str:
    return f"| {tool} | {said(rates['one run'])} | {said(rates['side by side'])} | {rates['best']:.1f} |"


def dag() -> list[str]:
    """Snakemake over a study beside a bare workflow."""
    found = read("dag")
    if found is None:
        return []
    lines = [
        f"`{found['command']}`, {machine(found)}. Seconds: median of {found['repeats']} turns (least to most).",
        "",
    ]
    lines += ["| jobs | | `snakemake -n` of a study | of a bare workflow | ratio |", "|---:|---|---|---|---|"]
    for size in found["sizes"]:
        for what in ("everything to make", "nothing to do"):
            values = " | ".join(said(size[what][name]) for name in ("study", "bare", "ratio"))
            lines.append(f"| {size['jobs']:,} | {what} | {values} |")
    return lines


def estimates() -> list[str]:
    """How far estimates of `redistill plan` were off."""
    found = read("estimates")
    if found is None:
        return []
    lines = [
        f"`{found['command']}`, {machine(found)}: {found['things']} things. By which factor estimates of seconds",
        "were off, too high or too low; and the sum of all estimates over that of all costs.",
        "",
        "| known | kind | things | median factor | 90th percentile | sum |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for left_out, kinds in found["seconds"].items():
        for kind, row in kinds.items():
            numbers = (f"{row[name]:.2f}" for name in ("median_factor", "factor_of_90_percent", "ratio_of_sums"))
            lines.append(f"| {left_out} | {kind} | {row['things']} | {' | '.join(numbers)} |")
    return lines


def methods_cost() -> list[str]:
    """What each method costs beside training without one."""
    found = read("methods-cost")
    if found is None:
        return []
    lines = [f"`{found['command']}`, {machine(found)}.", ""]
    for table, said_of in found["tables"].items():
        lines += [f"| {table} | cost over no distillation |", "|---|---:|"]
        lines += [f"| {label} | {ratio:.2f} |" for label, ratio in said_of["over it"].items()]
        lines.append("")
    return lines


def glue_teachers() -> list[str]:
    """The teachers of `glue-small` beside a plain loop's."""
    found = read("glue-teachers")
    if found is None:
        return []
    lines = [f"`{found['command']}`, {machine(found)}. Scores on dev, times 100.", ""]
    lines += ["| task | metric | redistill | plain loop | difference in standard errors |", "|---|---|---:|---:|---:|"]
    for task, one in found["tasks"].items():
        errors = one["standard errors"]
        scores = [f"{100 * one[who]:.1f} ± {100 * error:.1f}" for who, error in zip(SIDES, errors, strict=True)]
        lines.append(f"| {task} | {one['metric']} | {' | '.join(scores)} | {one[APART]:+.2f} |")
    return lines


def makespan() -> list[str]:
    """Real makespans beside simulated ones."""
    found = read("makespan")
    if found is None:
        return []
    lines = [f"`{found['command']}`, {machine(found)}, `{found['study']}` on `{found['profile']}`.", ""]
    lines += ["| cores | real | simulated | | over real |", "|---:|---:|---|---:|---:|"]
    for cores, one in found["cores"].items():
        for way, simulated in one["simulated"].items():
            numbers = (
                f"{one['real_seconds']:.0f} s | {way} | {simulated['seconds']:.0f} s | {simulated['over_real']:.2f}"
            )
            lines.append(f"| {cores} | {numbers} |")
    return lines


def scale() -> list[str]:
    """What takes time beside the jobs, in a study of many runs."""
    found = read("scale")
    if found is None:
        return []
    sizes = found["sizes"]
    lines = [f"`{found['command']}`, {machine(found)}, 2 cores. Seconds.", ""]
    heads = [f"{one['runs']:,} runs" for one in sizes]
    lines += [f"| what | {' | '.join(heads)} |", f"|---|{'---:|' * len(sizes)}"]
    for what in sizes[-1]["seconds"]:
        values = [f"{one['seconds'].get(what, 0):.4g}" for one in sizes]
        lines.append(f"| {what} | {' | '.join(values)} |")
    return lines


def forecasts() -> list[str]:
    """Large studies, simulated."""
    found = read("forecasts")
    if found is None:
        return []
    lines = [f"`{found['command']}`. Simulated; no makespan here was measured.", ""]
    lines += [
        "| study | on | makespan | GPU-hours | core-hours | busy | made | price | at least: chain | at least: room |"
    ]
    lines += ["|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    return lines + [_forecast(one) for one in found["studies"]]


def _forecast(one: Result) -> str:
    of = "gpus" if one["gpu_hours"] else "cores"
    bounds = one["bounds_seconds"]
    price = f"{one['price']:,.0f} {one['currency']}" if one["price"] else ""
    values = (
        one["what"], f"`{one['machine']}`", hours(one["makespan_seconds"]), f"{one['gpu_hours']:,.0f}",
        f"{one['core_hours']:,.0f}", f"{one['utilisation'][of]:.0%}", f"{one['storage_bytes'] / 1e9:,.1f} GB", price,
        hours(bounds["the longest chain"]), hours(bounds[f"{of} all busy"]),
    )  # fmt: skip
    return f"| {' | '.join(values)} |"


def gpu() -> list[str]:
    """Steps of the paper's workloads on each GPU that was measured."""
    lines = list[str]()
    for file in sorted(RESULTS.glob("gpu-*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        (device, *_), version = found["machine"]["devices"], f"cuDNN {found['cudnn']}"
        lines += [
            f"`{found['command']}`, one {device}, driver {found['driver']}, torch {found['torch']}, {version}.",
            "",
        ]
        lines += ["| workload | arithmetic | examples/s | ms a step | TFLOP/s | J an example | MiB of the GPU |"]
        lines += ["|---|---|---:|---:|---:|---:|---:|"]
        for workload, ways in found["workloads"].items():
            for way, one in ways.items():
                step = one["milliseconds a step"]
                values = (
                    f"{workload}, batches of {one['batch']}", way, f"{one['examples a second']:,.0f}",
                    f"{step['median']:.0f} ({step['least']:.0f} to {step['most']:.0f})",
                    f"{one['operations a second'] / 1e12:.1f}", f"{one['joules an example'] or math.nan:.2g}",
                    f"{one['MiB of the GPU']:,}",
                )  # fmt: skip
                lines.append(f"| {' | '.join(values)} |")
        lines.append("")
    return lines


def hours(seconds: float) -> str:
    return f"{seconds / 86400:.1f} d" if seconds > 2 * 86400 else f"{seconds / 3600:.1f} h"


def machine(found: Result) -> str:
    units = [name for name in found["machine"]["features"] if "bf16" in name]
    return found["machine"]["processor"] + (f" with {' and '.join(units)}" if units else "")


def said(value: Any) -> str:
    if isinstance(value, dict) and "median" in value:
        return f"{value['median']} ({value['least']} to {value['most']})"
    return "; ".join(f"{key}: {said(one)}" for key, one in value.items()) if isinstance(value, dict) else str(value)


def main() -> None:
    pages: tuple[Callable[[], list[str]], ...] = (
        goals, speed, dag, estimates, methods_cost, glue_teachers, makespan, scale, forecasts, gpu
    )  # fmt: skip
    for page in pages:
        if lines := page():
            file = RESULTS / f"{page.__name__.replace('_', '-')}.md"
            file.write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
