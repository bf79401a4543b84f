"""What a check gives: a study with all that it names, or every mistake in it. Imports no torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill import registry
from redistill.config import schema
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError, Problem, nearest

MAX_PROBLEMS = 1000  # after which nothing more is looked for


@dataclass(frozen=True)
class Recipe:
    """An experiment as it is for one task, with every value's place."""

    experiment: schema.Experiment
    document: Document


@dataclass(frozen=True)
class Row:
    """A row of a table, its grid laid out: the recipes that it shows, or among which it chooses."""

    name: str
    experiment: str
    label: str
    notes: dict[str, str]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    recipes: tuple[str, ...]
    trials: tuple[str, ...]  # what distinguishes these recipes from one another
    fixed: bool


@dataclass
class Checked:
    """A study with everything that it names, read and found right."""

    name: str
    study: schema.Study
    sources: dict[str, schema.Source]
    tasks: dict[str, schema.Task] = field(default_factory=dict)
    recipes: dict[tuple[str, str], Recipe] = field(default_factory=dict)  # by name and task
    rows: dict[str, list[Row]] = field(default_factory=dict)  # by table
    plugins: list[registry.Plugin] = field(default_factory=list)
    references: schema.References | None = None  # published scores, where a submission stands beside some
    claimed: dict[str, schema.References] = field(default_factory=dict)  # published numbers to reproduce, by file
    recorded: dict[str, dict[str, Any]] = field(default_factory=dict)  # by submission: what the server said of it
    given: dict[str, dict[str, Path]] = field(default_factory=dict)  # by source: files of a folder of the user's
    whole: dict[str, Path] = field(default_factory=dict)  # by source: a user's folder that is read where it lies
    no_data: dict[str, str] = field(default_factory=dict)  # tasks that such a folder has no data for, and why
    around: str | None = None  # where an experiment was checked alone: the study whose runtime it has

    def experiment(self, name: str, task: str) -> schema.Experiment:
        return self.recipes[name, self.trained(task)].experiment

    def trained(self, task: str) -> str:
        """The task whose runs stand for this one: another, where nothing is trained on it."""
        return self.tasks[task].model_of or task if task in self.tasks else task


class Findings:
    """Collects the mistakes of a whole study, whoever finds them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.broken: set[str] = set()  # sources that are wrong themselves; said once
        self.outside: set[tuple[str, str]] = set()  # plugins that are wrong themselves

    def say(self, document: Document, path: KeyPath, message: str) -> None:
        """What is wrong with the value at a path of a document."""
        self.tell([document.problem(path, message)])

    def tell(self, problems: list[Problem]) -> None:
        """Take over mistakes that know their places.

        Raises:
            ConfigError: with all of them, once there are more than anybody reads.
        """
        self.problems.extend(problems)
        if len(self.problems) > MAX_PROBLEMS:
            raise ConfigError(self.problems)

    def unique(self, document: Document, path: KeyPath, values: list[Any]) -> None:
        """Whether no value stands twice in a list; 1 and 1.0 are the same."""
        seen = set[str]()
        for i, value in enumerate(values):
            text = written(int(value) if isinstance(value, float) and value.is_integer() else value)
            if text in seen:
                self.say(document, (*path, i), f"`{value}` stands twice")
            seen.add(text)

    def component(self, document: Document, said: schema.Component, path: KeyPath) -> registry.Signature | None:
        """Whether a component exists and takes its settings; what its function takes, None if there is no such."""
        kind, name = said.kind, said.method
        if name not in registry.names(kind):
            if (kind, name) not in self.outside:
                self.say(document, (*path, "method"), f"no {kind} `{name}`; {nearest(name, registry.names(kind))}")
            return None
        signature = registry.signature(kind, name)
        own = [key for key in type(said).model_fields if key != "method"]
        for key, value in said.settings.items():
            if key not in signature.settings:
                message = f"{kind} `{name}` has no setting `{key}`; {nearest(key, [*signature.settings, *own])}"
                self.say(document, (*path, key), message)
            elif wrong := registry.mistake(signature.settings[key], value):
                self.say(document, (*path, key), f"{wrong}, but it is `{value}`")
            elif signature.settings[key].annotation in registry.NESTED and value is not None:
                self.component(document, schema.Architecture.model_validate(value), (*path, key))
        for key, setting in signature.settings.items():
            if setting.required and key not in said.settings:
                self.say(document, path, f"{kind} `{name}` needs the setting `{key}`")
        return signature


def written(value: Any) -> str:
    """A value in a name: different values never read alike, so a text that could be another value stands in quotes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if not isinstance(value, str) or set(value) & set(',="'):
        return text
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return value
    return text
