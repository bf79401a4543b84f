"""Runs as MLflow's: the recipe as parameters, curves and scores as metrics, the key as a tag."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.extras import bring
from redistill.tracking.curves import Point

KEY, MADE = "redistill.key", "redistill.manifest"
AT_ONCE, PARAMETERS_AT_ONCE = 500, 100  # of what MLflow takes in one request
LONGEST = 500  # characters of a parameter's value


class Experiment:
    """An experiment of MLflow, which is a study."""

    def __init__(self, root: Path, uri: str, study: str):
        # without these it tells its makers of its use, wants a database in the place of a folder, and tries a server
        # that is not there for minutes
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self.mlflow: Any = bring("mlflow", "tracking", "MLflow's store")
        try:
            self.client: Any = self.mlflow.MlflowClient(tracking_uri=_whole(root, uri))
            found = self.client.get_experiment_by_name(study)
            self.number: str = found.experiment_id if found else self.client.create_experiment(study)
        except (self.mlflow.exceptions.MlflowException, OSError) as error:
            raise RedistillError(f"{uri}: MLflow cannot be written to: {_first(error)}") from None

    def run_of(self, key: str) -> Any | None:
        found = self.client.search_runs([self.number], filter_string=f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0] if found else None

    def has(self, key: str, made: str) -> bool:
        """Whether all of a run was written before."""
        run = self.run_of(key)
        return run is not None and run.data.tags.get(MADE) == made


class Run:
    """One run, begun anew."""

    def __init__(self, experiment: Experiment, title: str, key: str, config: dict[str, Any], begin: float | None):
        self.client, entities = experiment.client, bring("mlflow.entities", "tracking", "MLflow's store")
        self.metric, self.begin = entities.Metric, begin
        if (old := experiment.run_of(key)) is not None:
            self.client.delete_run(old.info.run_id)
        at = None if begin is None else int(begin * 1000)
        tags = {KEY: key, **dict(zip(("experiment", "task", "seed"), title.split(" · "), strict=False))}
        self.number = self.client.create_run(experiment.number, start_time=at, run_name=title, tags=tags).info.run_id
        parameters = [entities.Param(name, value) for name, value in _flat(config).items()]
        for i in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self.client.log_batch(self.number, params=parameters[i : i + PARAMETERS_AT_ONCE])

    def add(self, points: Iterable[Point]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.metric(point.name, point.value, now, point.step) for point in points]
        for i in range(0, len(metrics), AT_ONCE):
            self.client.log_batch(self.number, metrics=metrics[i : i + AT_ONCE])

    def close(self, made: str | None, end: float | None = None) -> None:
        """Args:
        made: the digest of the run's manifest; None if it was not made.
        end: when it was, in seconds since 1970; now if not given.
        """
        if made is not None:
            self.client.set_tag(self.number, MADE, made)
        at = None if end is None else int(end * 1000)
        self.client.set_terminated(self.number, "FAILED" if made is None else "FINISHED", at)


def _whole(root: Path, uri: str) -> str:
    """A tracking URI; a folder without a scheme is one of the project."""
    return uri if ":" in uri else (root / uri).resolve().as_uri()


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """A recipe's values by their paths."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if not parts:
        return {name: str(value)[:LONGEST]} if name else {}
    return {k: v for key, part in parts for k, v in _flat(part, f"{name}.{key}" if name else str(key)).items()}


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
