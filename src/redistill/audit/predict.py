"""What a finished run's model says of its data, once more."""

from pathlib import Path
from typing import Any

from redistill.evaluation.evaluate import read_choice
from redistill.models import load, predict


def predict_again(config: dict[str, Any], inputs: dict[str, Path], run: Path, work: Path) -> dict[str, Any]:
    """Write predictions.parquet, as the run did once it was trained, with the weights that are in its folder."""
    if "trials" in config:
        config = config["trials"][read_choice(inputs["choice"])["chosen"]]
    load.prepare_torch(config["runtime"], config["task"])
    model, data = load.load_run(run, config["runtime"]), predict.unseen(config, inputs)
    predict.write(model, data, config, work)
    return {"examples": len(data)}
