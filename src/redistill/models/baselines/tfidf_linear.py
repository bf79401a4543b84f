"""TF-IDF of words and word pairs with a linear model: the floor of every table on text."""

from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge


def tfidf_linear(
    train: dict[str, Any], dev: dict[str, Any], num_classes: int, *, c: float = 10.0, ridge: float = 1.0
) -> np.ndarray:
    """Decision values (n, C) of a logistic regression for dev, or the scores (n, 1) of a ridge regression.

    Args:
        train: columns text and label.
        dev: columns text and label; the labels are not looked at.
        num_classes: 0 for a regression.
        c: inverse strength of the logistic regression's penalty.
        ridge: strength of the ridge regression's penalty.
    """
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features, unseen = vectoriser.fit_transform(train["text"]), vectoriser.transform(dev["text"])
    if not num_classes:
        labels = np.array(train["label"])
        centred = Ridge(alpha=ridge, solver="cholesky", fit_intercept=False).fit(features, labels - labels.mean())
        scores: np.ndarray = centred.predict(unseen) + labels.mean()
        return scores.reshape(-1, 1)
    model = LogisticRegression(C=c, max_iter=1000).fit(features, train["label"])
    probabilities = np.full((len(dev["text"]), num_classes), -np.inf)
    probabilities[:, model.classes_] = model.predict_log_proba(unseen)
    return probabilities
