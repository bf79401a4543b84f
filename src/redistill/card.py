"""The model card of an exported run: metadata that the hub reads, and sections that people read. Imports no torch."""

import re
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from redistill.evaluation.evaluate import score
from redistill.evaluation.metrics import BINARY, METRICS
from redistill.lineage import Finished, Origin
from redistill.provenance.keys import canonical, sha256_text

# Those of the hub's names of licences that a source is likely to have.
LICENCES = frozenset((
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-2.0", "cc-by-3.0",
    "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc0-1.0", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "odbl", "odc-by", "openrail",
    "pddl", "unlicense", "zlib",
))  # fmt: skip
HUB_TASKS = {  # by the type of a task; the hub's names for what a model does
    "classification": "{}-classification", "regression": "{}-classification", "segmentation": "image-segmentation",
    "detection": "object-detection",
}  # fmt: skip
HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}

Scores = dict[str, dict[str, float | int]]


def scores(run: Finished) -> Scores:
    """Every metric that fits the run's task, on `dev`, computed from its stored predictions."""
    return {name: score(run.folder, name, "dev") for name in metrics_for(run.task)}


def metrics_for(task: dict[str, Any]) -> list[str]:
    """The metrics that fit a task, as a resolved config has it."""
    two = len(task["labels"]) == 2
    return [n for n, (kind, _) in METRICS.items() if kind == task["type"] and (two or n not in BINARY)]


def hub_licence(said: str) -> str | None:
    """The hub's name of a licence, such as `cc-by-4.0` for `CC BY 4.0`; None if it has none."""
    name = "-".join(said.lower().split())
    return name if name in LICENCES else None


def licence_of(origins: list[Origin], given: str | None) -> dict[str, Any]:
    """`license` as the hub wants it: the one that was given, or the one of all sources, else `other` with a name."""
    names = {given} if given else {origin.licence for origin in origins}
    known = {hub_licence(name) for name in names}
    if len(known) == 1 and (only := known.pop()) is not None:
        return {"license": only}
    slug = re.sub(r"[^a-z0-9.]+", "-", given.lower()).strip("-") if given else "several-see-below"
    return {"license": "other", "license_name": slug or "see-below"}


def model_card(run: Finished, found: Scores, verified: int, licence: str | None, language: str | None) -> ModelCard:
    """The card of a run; the same run gives the same bytes.

    Args:
        found: what `scores` gave.
        verified: examples on which the export gave the predictions on file.
    """
    text = "\n\n".join(
        (f"# {plain(run.title)}", what_it_is(run), _use(run, verified), _results(run, found), _recipe(run),
         _provenance(run), licence_section(run, licence))
    )  # fmt: skip
    return ModelCard(f"---\n{_metadata(run, found, licence, language).to_yaml()}\n---\n\n{text}\n")


def _metadata(run: Finished, found: Scores, licence: str | None, language: str | None) -> ModelCardData:
    base, does = run.base(), HUB_TASKS[run.task["type"]].format(run.task["input"])
    data = run.data()
    datasets = [origin.repository for origin in data if origin.repository]
    results = [
        EvalResult(
            task_type=does, dataset_type=datasets[0] if datasets else data[0].name,
            dataset_name=run.task_title, dataset_split="dev", metric_type=HUB_METRICS.get(name, name),
            metric_name=name, metric_value=said["value"],
        )
        for name, said in found.items()
    ]  # fmt: skip
    return ModelCardData(
        language=language, **licence_of(run.origins, licence), library_name="transformers" if run.is_text else None,
        pipeline_tag=does, base_model=base.repository if base else None,
        datasets=datasets or None, tags=["redistill", *(["knowledge-distillation"] if run.teachers else [])],
        model_name=run.title, eval_results=results,
    )  # fmt: skip


def what_it_is(run: Finished) -> str:
    labels = ", ".join(f"`{label}`" for label in run.task["labels"])
    words = {"segmentation": f"tells {labels} apart in every pixel", "detection": f"finds {labels}, each in a box"}
    does = words.get(run.task["type"], f"tells {labels} apart" if labels else "gives a score")
    lines = [f"A model of {run.task['input']}s that {does}, trained by redistill on {plain(run.task_title)}."]
    base = run.base()
    if base:
        lines.append(f"Its weights began as those of {_named(base)}.")
    if run.teachers:
        called = [next((_named(o) for o in run.origins if o.key == key), f"the run `{key}`") for key in run.teachers]
        lines.append(f"It is distilled: it learnt from {', '.join(called)}.")
    return " ".join(lines)


def _named(origin: Origin) -> str:
    return f"`{origin.repository or origin.name}`"


def _use(run: Finished, verified: int) -> str:
    if not run.is_text:
        return (
            "## Use\n\ntransformers does not open this model: its architecture is redistill's own. Where redistill is "
            "installed:\n\n```python\nimport json\nfrom pathlib import Path\n\nfrom redistill.models.load import "
            'load_run\n\nfolder = Path("...")  # this repository\'s files\nruntime = json.loads((folder / '
            '"resolved.json").read_text())["runtime"]\nmodel = load_run(folder, runtime)\n```\n\nBefore it was '
            f"exported, it gave the stored {_said(run)} of {verified} examples of `dev`."
        )
    pair = ', "text_pair": "..."' if _is_paired(run) else ""
    return (
        '## Use\n\n```python\nfrom transformers import pipeline\n\nclassify = pipeline("text-classification", '
        f'model="...")  # this repository, or its folder\nclassify({{"text": "..."{pair}}}, truncation=True)\n```\n\n'
        f"`truncation=True` cuts texts at {run.max_length} tokens, as they were cut in training. Before it was "
        f"exported, this gave the stored logits of {verified} examples of `dev`."
    )


def _said(run: Finished) -> str:
    """What a run's predictions are."""
    return {"segmentation": "masks", "detection": "boxes"}.get(str(run.task["type"]), "logits")


def _is_paired(run: Finished) -> bool:
    """Whether the run reads two texts at once; pools, which have no reader, are not reported on."""
    reader = run.upstream[run.parts["inputs"]["dataset"]]["config"].get("reader") or {"settings": {}}
    return reader["settings"].get("text_pair") is not None


def _results(run: Finished, found: Scores) -> str:
    evaluation = run.config["evaluation"]
    on_dev = evaluation["checkpoint"] == "best" and evaluation["split"] == "dev"
    caution = (
        "The checkpoint was chosen on `dev`, so these numbers are higher than on examples that served no choice."
        if on_dev
        else "`dev` is only reported on: it served no choice of this run."
    )
    lines = [f"| `{name}` | {said['value']:.4f} | {said['examples']} |" for name, said in found.items()]
    return "\n".join(
        (f"## Results\n\nOn the split `dev` of {plain(run.task_title)}, from the stored predictions of this one run, "
         f"seed {run.config['seed']}. {caution}\n", "| metric | value | examples |", "| --- | ---: | ---: |", *lines)
    )  # fmt: skip


def _recipe(run: Finished) -> str:
    written = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=120).rstrip()
    return (
        f"## Recipe\n\nEvery value, with the defaults written out; also in `resolved.json`.\n\n```yaml\n{written}\n```"
    )


def _provenance(run: Finished) -> str:
    inputs = "\n".join(f"| {role} | `{key}` |" for role, key in run.parts["inputs"].items())
    files = "\n".join(f"| `{name}` | `{said['sha256']}` |" for name, said in sorted(run.manifest["files"].items()))
    packages = ", ".join(f"{name} {version}" for name, version in sorted(run.parts["packages"].items()))
    return (
        f"## Provenance\n\nMachine-readable in `provenance.json`. The run's key, a digest of its config, inputs, code "
        f"and packages, is `{run.key}`.\n\n| input | key |\n| --- | --- |\n{inputs}\n\n| file of the run | SHA-256 |\n"
        f"| --- | --- |\n{files}\n\n- Code: `{code_digest(run)}`, of {len(run.parts['code'])} modules\n"
        f"- Packages: {packages}\n{_machine(made(run))}"
    )


def code_digest(run: Finished) -> str:
    """One digest for the code of all modules that the run's key has."""
    return sha256_text(canonical(run.parts["code"]))


def made(run: Finished) -> dict[str, Any] | None:
    """How the run came to be, as its record says, without times; None if there is no record."""
    if run.noted is None:
        return None
    environment = run.noted["environment"]
    return {
        "machine": run.noted["machine"], "python": environment["python"], "lock": environment["lock"],
        "code": run.noted["code"],
    }  # fmt: skip


def _machine(said: dict[str, Any] | None) -> str:
    if said is None:
        return "- Machine: no record of it"
    machine = said["machine"]
    devices = "".join(f", {name}" for name in machine.get("devices", []))
    return (
        f"- Machine: {plain(machine['processor'] or machine['machine'])}{devices}, {machine['system']}, "
        f"Python {said['python']}{_commit(said['code'])}"
    )


def _commit(said: dict[str, Any]) -> str:
    if said["commit"] is None:
        return ""
    return f"\n- Commit: `{said['commit']}`{'' if said['clean'] else ', with files that differed from it'}"


def licence_section(run: Finished, licence: str | None) -> str:
    lines = [f"| {plain(o.name)} | {o.kind} | {plain(o.licence)} | {plain(o.citation)} |" for o in run.origins]
    said = f"The model is given under {plain(licence)}. " if licence else ""
    return (
        f"## Licence and citation\n\n{said}What it was made of, its teachers and its start included:\n\n"
        "| source | kind | licence | to cite |\n| --- | --- | --- | --- |\n" + "\n".join(lines)
    )


def plain(text: str) -> str:
    """Text in which Markdown sees no mark, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
