"""kNN accuracy against scikit-learn and upstream."""

import numpy as np
import pytest
import torch
from mmselfsup.evaluation.functional import knn_eval
from sklearn.neighbors import KNeighborsClassifier

from mmaccel.evaluation import knn_classify, knn_top1


def clusters(num, num_classes=5, dim=8, seed=0):
    """Overlapping clusters, so that no accuracy is 0 or 100."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(num_classes, (num,), generator=generator)
    return centres[labels] + 1.2 * torch.randn(num, dim, generator=generator), labels


@pytest.mark.parametrize('k', [1, 7, 20, 1000])  # 1000: clipped to the bank of 300
@pytest.mark.parametrize('temperature', [0.07, 1.0])
@pytest.mark.parametrize('num_queries', [1, 99, 100, 257])
def test_equals_scikit_learn(k, temperature, num_queries):
    bank, bank_labels = clusters(300)
    queries, _ = clusters(num_queries, seed=1)
    reference = KNeighborsClassifier(
        min(k, 300),
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / temperature),
    ).fit(bank.double().numpy(), bank_labels.numpy())
    predictions = knn_classify(bank, bank_labels, queries, k, temperature)
    assert predictions.tolist() == reference.predict(queries.double().numpy()).tolist()


def test_equals_upstream_where_upstream_works():
    bank, bank_labels = clusters(400)
    queries, labels = clusters(200, seed=1)
    expected, _ = knn_eval(bank, bank_labels, queries, labels, 20, 0.07, num_classes=5)
    assert 30 < expected < 99
    assert knn_top1(bank, bank_labels, queries, labels, 20) == pytest.approx(expected)


def test_upstream_still_fails_below_100_images():
    """The reason for an implementation of our own; drop it when this test fails."""
    bank, labels = clusters(50)
    with pytest.raises(ValueError):
        knn_eval(bank, labels, bank, labels, 5, 0.07, num_classes=5)
    assert knn_top1(bank, labels, bank, labels, k=1) == 100.0


@pytest.mark.parametrize('chunk_size', [1, 7, 100, None])
def test_chunks_do_not_change_the_result(chunk_size):
    bank, bank_labels = clusters(80)
    queries, _ = clusters(31, seed=1)
    whole = knn_classify(bank, bank_labels, queries, 9, chunk_size=31)
    split = knn_classify(bank, bank_labels, queries, 9, chunk_size=chunk_size)
    assert split.equal(whole)


def test_tiny_temperature_does_not_overflow():
    bank, bank_labels = clusters(60)
    queries, _ = clusters(23, seed=1)
    nearest = knn_classify(bank, bank_labels, queries, k=1)
    assert knn_classify(bank, bank_labels, queries, 60, 1e-4).equal(nearest)


def test_a_class_without_bank_features_is_never_predicted():
    bank, queries = torch.eye(3), torch.eye(3)
    labels = torch.tensor([0, 4, 4])
    assert knn_classify(bank, labels, queries, k=1).tolist() == [0, 4, 4]


def test_bad_input():
    bank, labels = clusters(5)
    with pytest.raises(ValueError, match='bank is empty'):
        knn_classify(bank[:0], labels[:0], bank)
    with pytest.raises(ValueError, match='k must be at least 1'):
        knn_classify(bank, labels, bank, k=0)
    with pytest.raises(ValueError, match='temperature above 0'):
        knn_classify(bank, labels, bank, temperature=0)
    with pytest.raises(ValueError, match='nothing to classify'):
        knn_top1(bank, labels, bank[:0], labels[:0])
