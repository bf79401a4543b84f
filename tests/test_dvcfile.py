"""results/<study>/dvc.yaml: DVC finds a study's metrics, tables, models and data sets by it."""

import re
from pathlib import Path

import yaml
from published_study import STUDY, PublishedStudy
from versioned import commit, dvc, run

from redistill.provenance import dvcfile, versions

NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-/_]*[a-zA-Z0-9])?")  # what DVC takes for an artifact's name


def test_it_names_every_model_and_data_set_that_is_behind_the_tables(published_project: PublishedStudy) -> None:
    whole = published_project
    said = yaml.safe_load((whole.results / "dvc.yaml").read_text(encoding="utf-8"))
    assert said["metrics"] == ["metrics.json"]
    assert [next(iter(plot)) for plot in said["plots"]] == ["pictures", "texts", "tuned"]
    artifacts = said["artifacts"]
    for name, artifact in artifacts.items():
        assert NAME.fullmatch(name)
        assert (whole.results / artifact["path"]).resolve().is_relative_to(whole.root / "store")
        assert (whole.results / artifact["path"] / "done.json").is_file()
    runs = [line.split("\t") for line in (whole.results / "runs.tsv").read_text().splitlines()[1:]]
    weights = {key for *_, key in runs if (whole.root / "store" / "runs" / key / "model.safetensors").is_file()}
    assert {a["path"].rpartition("/")[2] for n, a in artifacts.items() if "/seed-" in n} == weights
    key = whole.node("student", "plain · marks · seed 1").key
    assert artifacts["pictures/plain/marks/seed-1"] == {
        "path": f"../../store/runs/{key}", "type": "model", "desc": "plain · marks · seed 1"
    }  # fmt: skip
    assert {name for name in artifacts if "/seed-" not in name} >= {"data/marks", "dataset/words", "model/little"}


def test_names_are_such_as_dvc_takes() -> None:
    entry = {"kind": "run", "title": "a", "area": "runs", "files": {"model.safetensors": {}}}
    text = dvcfile.text([["t", "kd@x=1.5", "movie·x", 0, "k"]], {"k": entry}, [])
    assert list(yaml.safe_load(text)["artifacts"]) == ["t/kd-x-1-5/movie-x/seed-0"]
    assert list(yaml.safe_load(dvcfile.text([], {}, []))) == ["metrics"]


def test_dvc_compares_metrics_tables_and_configs_and_gets_artifacts(
    versioned_study: PublishedStudy, tmp_path: Path
) -> None:
    made = versioned_study
    versions.push(made.root)
    commit(made.root)
    file = made.root / "configs" / "experiments" / "plain.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("batch_size: 10", "batch_size: 12"), encoding="utf-8")
    table = made.results / "pictures.csv"
    metrics = made.results / "metrics.json"
    old = next(iter(re.findall(r"0\.\d+", metrics.read_text(encoding="utf-8"))))
    metrics.write_text(metrics.read_text(encoding="utf-8").replace(old, "0.98765"), encoding="utf-8")
    table.write_text(table.read_text(encoding="utf-8").replace("0.", "0.9"), encoding="utf-8")
    assert "0.98765" in dvc(made.root, "metrics", "diff")
    changed = [line.split() for line in dvc(made.root, "params", "diff").splitlines()]
    assert ["configs/experiments/plain.yaml", "stages", "10", "12"][0] in [line[0] for line in changed]
    dvc(made.root, "plots", "diff", "HEAD")
    drawn = (made.root / ".dvc" / "tmp" / "plots" / "index.html").read_text(encoding="utf-8")
    assert '"rev": "HEAD"' in drawn
    assert '"label": "Plain"' in drawn
    folder = made.folder("student", "plain · marks · seed 1")
    tag, name = f"results/{STUDY}=pictures/plain/marks/seed-1@v1.0.0", f"results/{STUDY}:pictures/plain/marks/seed-1"
    run("git", "tag", "--annotate", "--message", "x", tag, cwd=made.root)  # others DVC does not find
    dvc(tmp_path, "artifacts", "get", str(made.root), name, "--out", "got")
    assert {f.name: f.read_bytes() for f in (tmp_path / "got").iterdir()} == {
        f.name: f.read_bytes() for f in folder.iterdir()
    }
