"""What a linear classifier reads off features."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def probe_accuracy(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, regularization: float
) -> float:
    """Accuracy on test rows of logistic regression (inverse penalty `regularization`) fitted on train rows.

    Features are standardised by the train rows. Raises ValueError: one class only in train.
    """
    if len(np.unique(y_train)) < 2:
        raise ValueError("probe: the train rows are of one class")
    scaler = StandardScaler().fit(x_train)
    model = LogisticRegression(C=regularization, max_iter=5000).fit(scaler.transform(x_train), y_train)
    return float((model.predict(scaler.transform(x_test)) == y_test).mean())
