"""TF-IDF of words and word pairs with a linear model: the floor of every table on text."""

from typing import Annotated

import numpy as np
from annotated_types import Gt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge


def tfidf_linear(
    texts: list[str], labels: list[float], unseen_texts: list[str], num_classes: int, *,
    c: Annotated[float, Gt(0)] = 10.0, ridge: Annotated[float, Gt(0)] = 1.0,
) -> np.ndarray:  # fmt: skip
    """Decision values (n, C) of a logistic regression, or the scores (n, 1) of a ridge regression.

    Args:
        num_classes: 0 for a regression.
        c: inverse strength of the logistic regression's penalty.
        ridge: strength of the ridge regression's penalty.
    """
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features, unseen = vectoriser.fit_transform(texts), vectoriser.transform(unseen_texts)
    if not num_classes:
        targets = np.array(labels)
        centred = Ridge(alpha=ridge, solver="cholesky", fit_intercept=False).fit(features, targets - targets.mean())
        scores: np.ndarray = centred.predict(unseen) + targets.mean()
        return scores.reshape(-1, 1)
    model = LogisticRegression(C=c, max_iter=1000).fit(features, labels)
    probabilities = np.full((len(unseen_texts), num_classes), -np.inf)
    probabilities[:, model.classes_] = model.predict_log_proba(unseen)
    return probabilities
