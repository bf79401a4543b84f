"""Estimates: the model finds what it was made from, says how wide it is, and lays jobs on cores."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Project

from redistill.estimate import cores_of, estimate, wall
from redistill.performance import cost, size
from redistill.plan import Node, Plan
from redistill.provenance import record, store

START, RATE = 5.0, 0.002


def write_record(plan: Plan, node: Node, seconds: float, **values: Any) -> None:
    noted = {
        "what": node.title, "key_parts": node.parts, "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z",
        "seconds": seconds, "core_seconds": seconds / 2, "peak_memory_mib": 100, "machine": record.machine(), **values,
    }  # fmt: skip
    store.write_atomically(plan.root / "store" / "records" / f"{node.key}.json", store.pretty(noted))


def costs(plan: Plan) -> dict[str, float]:
    """What runs and teacher outputs would take if the model were right, with a rate of its own for each network."""
    known = cost.Known(plan.root, [(n.key, n.parts) for n in plan.nodes.values()])
    found, rates = {}, dict[str, float]()
    for node in plan.nodes.values():
        if node.parts["kind"] in cost.MODELLED:
            shape = known.step(node.key)["the same kind of step"]
            rate = rates.setdefault(shape, RATE * (1 + len(rates)))
            found[node.key] = START + rate * (known.work(node.key) or 0)
        else:
            found[node.key] = 1.0
    return found


def write_records(plan: Plan, **values: Any) -> dict[str, float]:
    """Records of everything, each with what it would take; and these seconds, by key."""
    takes = costs(plan)
    for node in plan.nodes.values():
        write_record(plan, node, takes[node.key], **values)
    return takes


def model(plan: Plan) -> cost.Model:
    return cost.fitted(plan.root, cost.read_here(plan.root), plan.nodes.values())


def run_of(plan: Plan, recipe: str, task: str, seed: int = 0) -> Node:
    return next(n for n in plan.nodes.values() if n.title == f"{recipe} · {task} · seed {seed}")


def test_a_recipe_that_was_never_made_costs_what_its_network_and_its_work_say(project: Project) -> None:
    plan = project.plan()
    takes = costs(plan)
    new = run_of(plan, "text/student-kd-transfer", "movie")
    for node in plan.nodes.values():
        if not node.title.startswith("text/student-kd-transfer"):
            write_record(plan, node, takes[node.key])
    guess = model(plan).guess(new.key, "run", new.title)
    assert guess is not None
    assert guess.level == "the same kind of step"
    assert guess.seconds == pytest.approx(takes[new.key], rel=0.05)


def test_a_changed_number_of_steps_is_not_taken_for_what_was_made_before(project: Project) -> None:
    before = project.plan()
    takes = write_records(before)
    project.edit("experiments/text/base.yaml", "steps: 39", "steps: 390")
    after = project.plan()
    known = model(after)
    old, new = (run_of(plan, "text/student-finetuned", "movie") for plan in (before, after))
    guesses = [known.guess(node.key, "run", node.title) for node in (old, new)]
    assert guesses[0] is not None
    assert guesses[1] is not None
    assert guesses[0].level == "the same recipe"
    assert guesses[0].seconds == pytest.approx(takes[old.key])
    assert guesses[1].seconds - START > 5 * (guesses[0].seconds - START)


def test_work_is_what_is_trained_on_and_a_third_of_what_is_predicted(project: Project) -> None:
    plan = project.plan()
    known = cost.Known(plan.root, [(n.key, n.parts) for n in plan.nodes.values()])
    image = run_of(plan, "image/student-finetuned", "digits")
    sizes = known.sizes(image.inputs["dataset"])
    assert sizes is not None
    assert known.work(image.key) == pytest.approx(300 * 32 + (sizes["dev"] + sizes["select"]) / 3)
    text = run_of(plan, "text/agnostic", "all-text")
    pooled = known.sizes(text.inputs["dataset"])
    assert pooled == {"transfer": 4 * 600}
    length = cost.USUAL_LENGTH * 40
    assert known.work(text.key) == pytest.approx(150 * 16 * length)
    counts = plan.root / "store" / "data" / text.inputs["tokens"] / "counts.json"
    store.write_atomically(counts, json.dumps({"texts": 10, "tokens": 170}))
    fresh = cost.Known(plan.root, [(n.key, n.parts) for n in plan.nodes.values()])
    assert fresh.work(text.key) == pytest.approx(150 * 16 * 17)


def test_networks_are_alike_whatever_they_were_trained_on(project: Project) -> None:
    plan = project.plan()
    known = cost.Known(plan.root, [(n.key, n.parts) for n in plan.nodes.values()])
    recipes = ("text/student-finetuned", "text/student-agnostic-kd", "text/teacher")
    students = [known.network(run_of(plan, recipe, "movie").key) for recipe in recipes]
    assert students[0] == students[1] != students[2]
    assert known.network(run_of(plan, "text/student-kd", "nyt", 2).key) == students[0]


def test_other_machines_records_count_only_where_there_are_no_others(project: Project) -> None:
    plan = project.plan()
    node = run_of(plan, "image/teacher", "digits")
    write_record(plan, node, 100.0, machine={"processor": "another", "features": []})
    assert [made.seconds for made in cost.read_here(plan.root)] == [100.0]
    write_record(plan, run_of(plan, "image/student-finetuned", "digits"), 7.0)
    assert [made.seconds for made in cost.read_here(plan.root)] == [7.0]


def test_records_that_cannot_be_read_are_passed_over(project: Project) -> None:
    plan = project.plan()
    folder = plan.root / "store" / "records"
    for name, text in {"a": "{", "b": "[]", "c": '{"what": "x"}'}.items():
        store.write_atomically(folder / f"{name}.json", text)
    assert cost.read_records(plan.root) == []
    assert "nobody knows how long it takes" in str(estimate(plan, list(plan.nodes.values())))


def test_the_factors_hold_four_of_five_of_the_costs(project: Project) -> None:
    plan = project.plan()
    takes = costs(plan)
    for i, node in enumerate(plan.nodes.values()):
        write_record(plan, node, takes[node.key] * (0.8, 1.0, 1.3)[i % 3])
    low, high = model(plan).errors["the same recipe"]
    assert 0.5 < low < 0.9
    assert 1.1 < high < 2.0


def test_an_estimate_says_time_on_these_cores_its_width_and_the_time_without_neighbours(project: Project) -> None:
    plan = project.plan()
    takes = write_records(plan)
    found = estimate(plan, list(plan.nodes.values()))
    assert found.known == found.asked == len(plan.nodes)
    assert found.seconds == pytest.approx(sum(takes.values()), rel=0.05)
    assert found.quiet_seconds == pytest.approx(found.seconds / 2, rel=0.05), "core-seconds are half of the seconds"
    assert found.chain <= found.wall
    assert found.low < 1 < found.high
    lines = str(found).splitlines()
    assert "of one process and 0 MB (from earlier runs here)" in lines[0]
    assert "on this machine's" in lines[1]
    assert "by how far earlier estimates were off" in lines[1]
    assert lines[2].startswith("if nothing else runs: ")


# --- wall time -------------------------------------------------------------------------------------------------------


def thing(name: str, *inputs: Node, kind: str = "student", threads: int = 1) -> Node:
    config = {"name": name, "runtime": {"threads": threads, "devices": 1}}
    parts = {"kind": kind, "config": config, "inputs": {str(i): node.key for i, node in enumerate(inputs)}}
    return Node(kind, name, parts)


@pytest.mark.parametrize(("cores", "seconds"), [(1, 14), (2, 9), (4, 9)])
def test_jobs_wait_for_their_inputs_and_for_cores(cores: int, seconds: float) -> None:
    first = thing("first")
    students = [thing(f"student {i}", first) for i in range(3)]
    last = thing("last", *students)
    takes = dict(zip([n.key for n in (first, *students, last)], (2, 5, 3, 2, 2), strict=True))
    assert wall([first, *students, last], takes, cores) == seconds


def test_what_has_most_inputs_is_begun_first_as_snakemake_does_and_unknown_things_take_no_time() -> None:
    first = [thing(f"first {i}") for i in range(2)]
    short, long = thing("short", first[0]), thing("long", *first)
    takes = {first[0].key: 1.0, first[1].key: 1.0, short.key: 4.0, long.key: 6.0}
    assert wall([*first, short, long], takes, 1) == 12
    assert wall([*first, short, long, thing("end", long)], takes | {thing("end", long).key: 2.0}, 2) == 9
    assert wall([thing("unknown")], {}, 2) == 0


def test_a_job_with_more_threads_than_there_are_cores_takes_them_all() -> None:
    wide, other = thing("wide", threads=8), thing("other")
    assert cores_of(wide) == 8
    assert cores_of(thing("table", kind="table", threads=8)) == 1
    assert wall([wide, other], {wide.key: 3.0, other.key: 2.0}, 4) == 5


def test_estimating_imports_neither_torch_nor_numpy(project: Project, python: Any, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from redistill.plan import make_plan; "
        "from redistill.estimate import estimate; p = make_plan(Path(sys.argv[1]), 'embedded'); "
        "estimate(p, list(p.nodes.values())); print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    done = python("-c", code, str(project.root))
    assert done.stdout.strip() == "[]", done.stderr


# --- by its shape alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "inner", "layers"), [(384, 1536, 6), (1024, 4096, 24), (32, 48, 1)])
def test_a_shape_has_the_parameters_of_the_model_that_is_built_of_it(hidden: int, inner: int, layers: int) -> None:
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=30522, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
    )  # fmt: skip
    with torch.device("meta"):
        built = BertModel(config)
    assert size.Shape(hidden, inner, layers, 30522, 512).parameters == sum(p.numel() for p in built.parameters())


def test_what_a_pass_keeps_is_near_what_autograd_saves() -> None:
    import torch
    from transformers import BertConfig

    from redistill.models.text import from_config

    config = BertConfig(vocab_size=500, hidden_size=128, intermediate_size=512, num_hidden_layers=4,
                        num_attention_heads=2)  # fmt: skip
    model = from_config(config, {"type": "classification", "labels": ["a", "b"]}).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    texts, length = 16, 96
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(input_ids=torch.ones(texts, length, dtype=torch.long)).logits.sum()
    stage = {"batch_size": texts, "accumulate": 1, "precision": None}
    guessed = size._kept(size.Shape(128, 512, 4, 500, 512), stage, length, {"devices": 1, "precision": "float32"})
    assert loss.requires_grad
    assert 0.5 < guessed / sum(kept.values()) < 2


def test_a_larger_model_a_longer_text_and_a_larger_batch_take_more_and_recomputing_takes_less(project: Project) -> None:
    plan = project.plan("paper")
    known = cost.Known(plan.root, [(n.key, n.parts) for n in plan.nodes.values()])
    large, base = (run_of(plan, f"glue/bert-{kind}", "glue/cola").key for kind in ("large", "base"))
    assert (size.memory(known, large) or 0) > (size.memory(known, base) or 0) > size.PROCESS
    assert (size.operations(known, large) or 0) > 3 * (size.operations(known, base) or 0)
    project.edit("experiments/glue/base.yaml", "    accumulate: 1 ", "    recompute: true\n    accumulate: 1 ")
    again = project.plan("paper")
    known_again = cost.Known(again.root, [(n.key, n.parts) for n in again.nodes.values()])
    cheaper = run_of(again, "glue/bert-large", "glue/cola").key
    assert (size.memory(known_again, cheaper) or 0) < (size.memory(known, large) or 0)


def test_the_plan_of_what_was_never_made_says_memory_and_operations(project: Project) -> None:
    plan = project.plan("paper")
    said = str(estimate(plan, plan.missing()))
    assert "nothing like it was made here before" in said
    assert "GiB of memory, by the shape of its model; not measured" in said
    assert "floating-point operations" in said


def test_the_plan_of_what_was_made_says_the_memory_that_it_took(project: Project) -> None:
    plan = project.plan()
    write_records(plan, peak_memory_mib=2048)
    said = str(estimate(plan, plan.missing()))
    assert "about 2.0 GiB of memory, as such jobs took here" in said
    assert "floating-point operations" not in said


def test_nothing_is_known_of_runs_with_another_runtime_than_was_ever_made(project: Project) -> None:
    plan = project.plan()
    write_records(plan)
    project.edit("studies/embedded.yaml", "precision: float32", "precision: bfloat16")
    project.edit("studies/embedded.yaml", "portable: true", "portable: false")
    other = project.plan()
    guessed = model(other)
    run = run_of(other, "text/teacher", "movie")
    assert guessed.guess(run.key, "run", "another recipe · movie · seed 0") is None
    assert guessed.guess(run.key, "cell", "another recipe · movie") is not None
