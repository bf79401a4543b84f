"""A linear model on raw pixels: the floor of a table on images."""

from typing import Annotated

import numpy as np
from annotated_types import Gt
from sklearn.linear_model import LogisticRegression


def linear(
    images: list[list[float]],
    labels: list[int],
    unseen_images: list[list[float]],
    num_classes: int,
    *,
    c: Annotated[float, Gt(0)] = 1.0,
) -> np.ndarray:
    """Log-probabilities (n, C) of a logistic regression for the unseen images."""
    model = LogisticRegression(C=c, max_iter=1000).fit(np.array(images), labels)
    logits = np.full((len(unseen_images), num_classes), -np.inf)
    logits[:, model.classes_] = model.predict_log_proba(np.array(unseen_images))
    return logits
