"""Whether an exported detector or segmenter says what is on file."""

import numpy as np
import pytest
import torch
from picture_sets import mask_of

from redistill.models.agreement import ENOUGH, shared


def boxes(*of: tuple[list[float], int, float]) -> dict[str, torch.Tensor]:
    """As a detector gives them, whose classes begin after the background."""
    return {
        "boxes": torch.tensor([box for box, _, _ in of]).reshape(-1, 4),
        "labels": torch.tensor([c + 1 for _, c, _ in of], dtype=torch.int64),
        "scores": torch.tensor([score for _, _, score in of]),
    }


ROW = {"boxes": [[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]], "classes": [0, 1], "scores": [0.9, 0.1]}
SURE = ([0.0, 0.0, 10.0, 10.1], 0, 0.88)


@pytest.mark.parametrize(
    ("said", "share"),
    [
        (boxes(SURE), 1.0),  # what nobody is sure of does not count
        (boxes(SURE, ([50.0, 50.0, 60.0, 60.0], 0, 0.2)), 1.0),
        (boxes(SURE, ([50.0, 50.0, 60.0, 60.0], 0, 0.8)), 2 / 3),  # one more
        (boxes(), 0.0),
        (boxes((SURE[0], 1, 0.88)), 0.0),  # of another class
        (boxes((SURE[0], 0, 0.5)), 0.0),  # less sure
        (boxes(([0.0, 0.0, 10.0, 14.0], 0, 0.9)), 0.0),  # another box
    ],
)
def test_boxes_are_the_same_where_place_class_and_score_are(said: dict[str, torch.Tensor], share: float) -> None:
    assert shared({"detections": [said]}, ROW) == pytest.approx(share)


def test_two_that_find_nothing_agree() -> None:
    assert shared({"detections": [boxes()]}, {"boxes": [], "classes": [], "scores": []}) == 1.0


def test_masks_are_compared_by_pixel() -> None:
    before = np.zeros((4, 10), dtype=np.uint8)
    logits = torch.zeros(1, 2, 4, 10)
    logits[0, 0] = 1.0
    row = {"prediction": mask_of(before)}
    assert shared({"logits": logits}, row) == 1.0
    logits[0, 1, 0, :4] = 2.0
    assert shared({"logits": logits}, row) == pytest.approx(0.9)
    assert ENOUGH > 0.9
    assert shared({"logits": logits[..., :5]}, row) == 0.0
