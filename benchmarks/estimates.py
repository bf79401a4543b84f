"""How far estimates of `redistill plan` are off: each thing in the store is estimated as if it had not been made.

Twice: without its own record, when another seed of its recipe may be known; and without any record of its recipe on
that task, when the model has to go by the network and the amount of work. A ratio is estimate to cost. `seconds`
have in them whatever else the machine was doing; `core_seconds` do not.

python benchmarks/estimates.py     writes benchmarks/results/estimates.json
"""

import sys
from collections import defaultdict
from statistics import median
from typing import Any

from redistill.config.compose import find_root
from redistill.performance.cost import Made, Model, fitted, quantile, read_here
from redistill.performance.units import bounded
from redistill.provenance import record, store

MEASURES = ("seconds", "core_seconds")


def main() -> int:
    root = find_root()
    made = read_here(root)
    if not made:
        sys.exit("nothing has been made here: make a study first")
    models = {measure: fitted(root, made, measure=measure) for measure in MEASURES}
    result = {
        "command": "python benchmarks/estimates.py",
        "things": len(made),
        "machine": record.machine(),
        **{measure: _all(model) for measure, model in models.items()},
    }
    store.write_atomically(root / "benchmarks" / "results" / "estimates.json", store.pretty(bounded(result)))
    return 0


def _all(model: Model) -> dict[str, Any]:
    """Rows by what was left out, and by kind."""
    found: dict[str, Any] = {}
    for name, at in (("without the thing", 0), ("without its recipe", -1)):
        estimates: dict[str, list[tuple[float | None, float]]] = defaultdict(list)
        for made in model.made:
            cost = max(float(getattr(made, model.measure)), 1e-3)
            estimates[made.parts["kind"]].append((_estimate(model, made, at), cost))
        found[name] = {kind: _row(pairs) for kind, pairs in sorted(estimates.items()) if any(e for e, _ in pairs)}
    return found


def _estimate(model: Model, made: Made, at: int) -> float | None:
    """What a model fitted without these things says; fitted anew, for the start is fitted to all of them."""
    without = model.left_out(made)[at]
    others = [other for other in model.made if other.key not in without]
    guess = Model(model.known, others, model.measure).guess(made.key, made.parts["kind"], made.title)
    return guess.seconds if guess is not None else None


def _row(pairs: list[tuple[float | None, float]]) -> dict[str, Any]:
    known = [(estimate, cost) for estimate, cost in pairs if estimate is not None]
    ratios = [estimate / cost for estimate, cost in known]
    factors = [max(ratio, 1 / ratio) for ratio in ratios]
    return {
        "things": len(pairs), "not_estimated": len(pairs) - len(known), "median_ratio": median(ratios),
        "median_factor": median(factors), "factor_of_90_percent": quantile(factors, 0.9),
        "ratio_of_sums": sum(e for e, _ in known) / sum(cost for _, cost in known),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
