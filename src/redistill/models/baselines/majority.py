"""The floor of every table: the most frequent class of the training labels, or their mean."""

import numpy as np


def majority(labels: list[float], num_unseen: int, num_classes: int) -> np.ndarray:
    """Logits (n, C): the shares of the classes among the labels; for a regression (C = 0 given) their mean, (n, 1)."""
    if num_classes:
        row = np.bincount(np.array(labels), minlength=num_classes) / len(labels)
    else:
        row = np.array([np.array(labels).mean()])
    return np.tile(row, (num_unseen, 1))
