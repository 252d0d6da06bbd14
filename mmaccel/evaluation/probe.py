"""Linear classification of frozen features."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

#: Candidate weights of the L2 penalty, relative to the mean cross-entropy.
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

#: Share of the training images on which the penalty is chosen.
HELD_OUT = 0.1

_MAX_ITER = 1000


class LinearResult(NamedTuple):
    """``top1`` in percent, the ``penalty`` chosen, and whether the solver ``converged``
    at it."""

    top1: float
    penalty: float
    converged: bool


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
) -> LinearResult:
    """Accuracy of a linear classifier trained to its optimum.

    On fixed features the classifier is a convex problem: instead of a schedule of
    epochs and learning rates, L-BFGS solves it (scikit-learn's logistic regression).
    Features are standardised with the training images' statistics. The penalty is the
    one that classifies a held-out tenth of the training images best, the largest of
    equal ones; the classifier is then trained on all training images. Test images are
    not used for the choice.

    Args:
        features (np.ndarray): Of the training images.
        labels (np.ndarray): Their classes.
        test_features (np.ndarray): Of the images to classify.
        test_labels (np.ndarray): Their classes.
        seed (int): Seed of the choice of held-out images. Defaults to 0.
        penalties (Sequence[float]): Candidates, above 0.

    Shape:
        features: (N, D); labels: (N,); test_features: (M, D); test_labels: (M,).

    Raises:
        ValueError: If a class has fewer than two training images, or there are fewer
            than two classes.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        raise ValueError(
            'A linear probe needs two classes or more, and two training images or more '
            f'of each; got {len(counts)} classes, the smallest of {counts.min()}.'
        )
    order = sorted(penalties, reverse=True)  # each starts from the one before
    penalty = order[0]
    if len(order) > 1:
        fit, held_out = train_test_split(
            np.arange(len(labels)),
            test_size=max(int(HELD_OUT * len(labels)), len(counts)),
            stratify=labels,
            random_state=seed,
        )
        path = _Path(features[fit], labels[fit])
        hits = [path.top1(p, features[held_out], labels[held_out]) for p in order]
        penalty = order[int(np.argmax(hits))]
    final = _Path(features, labels)
    top1 = final.top1(penalty, test_features, test_labels)
    return LinearResult(top1, penalty, final.converged)


class _Path:
    """Classifiers of the same images under decreasing penalties."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self._scaler = StandardScaler()
        self._features = self._scaler.fit_transform(features)
        self._labels = labels
        self._model = LogisticRegression(max_iter=_MAX_ITER, warm_start=True)
        self.converged = False

    def top1(self, penalty: float, features: np.ndarray, labels: np.ndarray) -> float:
        # scikit-learn weighs the sum of the losses, not the penalty
        self._model.set_params(C=1 / (penalty * len(self._labels)))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)
            self._model.fit(self._features, self._labels)
        self.converged = bool(np.max(self._model.n_iter_) < _MAX_ITER)
        predictions = self._model.predict(self._scaler.transform(features))
        return 100.0 * float(np.mean(predictions == labels))
