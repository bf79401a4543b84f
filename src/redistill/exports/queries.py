"""Eleven questions about a study that SPARQL answers on its crate, and how to ask them, or any other, offline.

What a question is about is a variable of its query (`needs`): bind it, or put a VALUES in front.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError, nearest
from redistill.exports.crate import METADATA, TERMS

if TYPE_CHECKING:
    from rdflib import Graph

PREFIXES = """PREFIX schema: <http://schema.org/>
PREFIX wfrun: <https://w3id.org/ro/terms/workflow-run#>
PREFIX xsd: <http://www.w3.org/2001/XMLSchema#>
"""
BASE = "http://crate.invalid/"  # stands for the crate's own folder, wherever it is


@dataclass(frozen=True)
class Question:
    """A question in words, its query, and the variables that say what it is about."""

    name: str
    asked: str
    needs: tuple[str, ...]
    sparql: str


QUESTIONS = (
    Question(
        "sources", "Which data and pretrained models went into this number, and under which licences?", ("number",),
        """SELECT DISTINCT ?kind ?source ?licence ?citation WHERE {
  ?cell schema:result/schema:name ?number .
  ?cell (schema:object/^schema:result)* ?made .
  ?made schema:result ?folder .
  ?folder schema:license/schema:name ?licence ; schema:citation ?citation ;
          schema:name ?source ; schema:additionalType ?kind .
} ORDER BY ?kind ?source""",
    ),
    Question(
        "package", "Which runs used this package at this version?", ("package", "version"),
        """SELECT DISTINCT ?run WHERE {
  ?installed schema:name ?package ; schema:softwareVersion ?version .
  ?made schema:instrument/schema:softwareRequirements ?installed ; schema:result ?folder .
  ?folder schema:additionalType "run" ; schema:name ?run .
} ORDER BY ?run""",
    ),
    Question(
        "processors", "On which kind of processor was each run trained?", (),
        """SELECT ?run ?processor WHERE {
  ?made schema:additionalProperty ?machine ; schema:result ?folder .
  ?machine schema:propertyID "#machine" ; schema:name "processor" ; schema:value ?processor .
  ?folder schema:additionalType "run" ; schema:name ?run .
} ORDER BY ?run""",
    ),
    Question(
        "teachers", "Which teachers taught this student (its name or key)?", ("student",),
        """SELECT DISTINCT ?teacher ?key WHERE {
  ?made schema:result/(schema:name|schema:identifier) ?student .
  { ?made schema:additionalProperty ?given .
    ?given schema:propertyID "#input" ; schema:name ?role ; schema:value ?key .
    FILTER(STRSTARTS(?role, "teacher ")) }
  UNION
  { ?made schema:additionalProperty ?given .
    ?given schema:propertyID "#input" ; schema:name ?heard ; schema:value ?outputs .
    FILTER(STRSTARTS(?heard, "outputs "))
    ?saying schema:result/schema:identifier ?outputs ; schema:additionalProperty ?said .
    ?said schema:propertyID "#input" ; schema:name "teacher" ; schema:value ?key . }
  ?folder schema:identifier ?key ; schema:name ?teacher .
} ORDER BY ?teacher""",
    ),
    Question(
        "dependents", "Which numbers depend on a file with this SHA-256?", ("sha256",),
        """SELECT DISTINCT ?number WHERE {
  ?file wfrun:sha256 ?sha256 .
  ?folder schema:hasPart ?file .
  ?folder (^schema:object/schema:result)* ?value .
  ?value schema:propertyID "#number" ; schema:name ?number .
} ORDER BY ?number""",
    ),
    Question(
        "learning-rate", "What was the learning rate of this run (its name or key), in each of its stages?", ("run",),
        """SELECT ?setting ?value WHERE {
  ?made schema:result/(schema:name|schema:identifier) ?run ; schema:object ?given .
  ?given schema:name ?setting ; schema:value ?value .
  FILTER(REGEX(?setting, "stages[.][0-9]+[.]optimiser[.]learning_rate$"))
} ORDER BY ?setting""",
    ),
    Question(
        "cost", "How long did the study compute, in all, and how much memory did it take at most?", (),
        """SELECT ?quantity (COUNT(?made) AS ?things) (SUM(xsd:double(?value)) AS ?total)
       (MAX(xsd:double(?value)) AS ?most) WHERE {
  ?made schema:result/schema:identifier ?key ; wfrun:resourceUsage ?used .
  ?used schema:name ?quantity ; schema:value ?value .
} GROUP BY ?quantity ORDER BY ?quantity""",
    ),
    Question(
        "seeds", "Which random seeds is this number a mean over?", ("number",),
        """SELECT DISTINCT ?run ?seed WHERE {
  ?cell schema:result/schema:name ?number .
  { ?cell schema:object ?folder . }
  UNION
  { ?cell schema:object ?read . ?read schema:additionalType "outputs" .
    ?said schema:result ?read ; schema:object ?folder . }
  ?folder schema:name ?run .
  ?made schema:result ?folder ; schema:object ?given .
  ?given schema:name "seed" ; schema:value ?seed .
} ORDER BY ?seed ?run""",
    ),
    Question(
        "commits", "With which commits of the code was the study made, and how much with each?", (),
        """SELECT ?commit ?code (COUNT(DISTINCT ?made) AS ?things) WHERE {
  ?made schema:instrument ?used ; schema:result/schema:identifier ?key .
  ?used a schema:SoftwareSourceCode ; schema:version ?commit ; schema:name ?code .
} GROUP BY ?commit ?code ORDER BY ?commit ?code""",
    ),
    Question(
        "resumed", "Which things were resumed, or made only after attempts that failed?", (),
        """SELECT ?what ?resumed ?failed WHERE {
  ?made schema:additionalProperty ?taken_up, ?tried ; schema:result ?folder .
  ?taken_up schema:propertyID "#resumed" ; schema:value ?resumed .
  ?tried schema:propertyID "#attempts" ; schema:value ?failed .
  ?folder schema:identifier ?key ; schema:name ?what .
  FILTER(xsd:integer(?resumed) + xsd:integer(?failed) > 0)
} ORDER BY ?what""",
    ),
    Question(
        "models", "What is the SHA-256 of each model behind this number?", ("number",),
        """SELECT DISTINCT ?run ?sha256 WHERE {
  ?cell schema:result/schema:name ?number .
  { ?cell schema:object ?folder . }
  UNION
  { ?cell schema:object ?read . ?read schema:additionalType "outputs" .
    ?said schema:result ?read ; schema:object ?folder . }
  ?folder schema:additionalType "run" ; schema:name ?run ; schema:hasPart ?file .
  ?file schema:name "model.safetensors" ; wfrun:sha256 ?sha256 .
} ORDER BY ?run""",
    ),
)  # fmt: skip


def graph(crate: Path) -> "Graph":
    """A crate's metadata as RDF, without the network: the terms of RO-Crate come with the package `rocrate`.

    Raises:
        RedistillError: there is no crate.
    """
    from rdflib import Graph
    from rocrate.vocabs import RO_CRATE

    try:
        said = json.loads((crate / METADATA).read_text(encoding="utf-8"))
        if "./" not in [entity["@id"] for entity in said["@graph"]]:
            raise ValueError("it describes no folder")
        said["@context"] = [RO_CRATE["@context"], TERMS]
        return Graph().parse(data=json.dumps(said), format="json-ld", publicID=BASE)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RedistillError(
            f"{crate}: this is no crate, as {METADATA} cannot be read ({error}); `redistill crate` writes one"
        ) from None


def ask(crate: Path, question: str, given: dict[str, str]) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of an answer.

    Args:
        question: the name of one of the eleven, a query of one's own, or a file NAME.rq with one.
        given: what it is about, by variable.

    Raises:
        RedistillError: there is no such question, it needs something else, the query is wrong, or there is no crate.
    """
    from rdflib import Literal
    from rdflib.plugins.sparql.parser import parseQuery
    from rdflib.plugins.sparql.sparql import SPARQLError

    sparql = _query(question, given)
    try:
        parseQuery(PREFIXES + sparql)
    except Exception as error:  # the parser has exceptions of its own, in a package that may change them
        raise RedistillError(f"this is no query in SPARQL: {str(error).splitlines()[0]}") from None
    try:
        found = graph(crate).query(PREFIXES + sparql, initBindings={k: Literal(v) for k, v in given.items()})
    except (SPARQLError, ValueError) as error:
        raise RedistillError(f"the query cannot be answered: {error}") from None
    if found.type != "SELECT":
        raise RedistillError("only SELECT is answered here: a table")
    columns = [str(variable) for variable in found.vars or ()]
    rows: list[Any] = list(found)
    return columns, [[None if row[name] is None else row[name].toPython() for name in columns] for row in rows]


def _query(question: str, given: dict[str, str]) -> str:
    known = {q.name: q for q in QUESTIONS}
    if question.endswith(".rq"):
        try:
            return Path(question).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RedistillError(f"{question}: no query can be read there ({error.__class__.__name__})") from None
    if question not in known:
        if len(question.split()) > 1:
            return question
        raise RedistillError(f"there is no question `{question}`; {nearest(question, known)}")
    needs = known[question].needs
    for name in sorted({*needs} ^ {*given}):
        problem = "needs" if name in needs else "does not take"
        wanted = " ".join(f"--with {n}=..." for n in needs) or "nothing"
        raise RedistillError(f"the question `{question}` {problem} `{name}`: give it {wanted}")
    return known[question].sparql
