"""What a finished run's model says of its data, once more."""

from pathlib import Path
from typing import Any

from redistill.data import examples
from redistill.evaluation.evaluate import read_choice
from redistill.models import load, predict


def predict_again(config: dict[str, Any], inputs: dict[str, Path], run: Path, work: Path) -> dict[str, Any]:
    """Write predictions.parquet, as the run did once it was trained, with the weights that are in its folder."""
    if "trials" in config:
        config = config["trials"][read_choice(inputs["choice"])["chosen"]]
    load.prepare_torch(config["runtime"], config["task"])
    splits = [split for split in ("dev", "select") if (inputs["dataset"] / f"{split}.parquet").is_file()]
    data = examples.load(config["task"], inputs, splits)
    model = load.load_run(run, config["runtime"])
    logits = predict.logits_over(model, data, config["evaluation"]["batch_size"], config["runtime"]["device"])
    predict.write_predictions(work / "predictions.parquet", data, logits)
    return {"examples": len(data)}
