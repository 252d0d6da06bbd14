"""Weighted k-nearest-neighbour classification of frozen features."""

import torch
import torch.nn.functional as F

# similarities held at once: 2**25 fp32 values are 128 MiB
_MAX_SIMILARITIES = 2**25


@torch.no_grad()
def knn_classify(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    k: int = 200,
    temperature: float = 0.07,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """Predict the class of each query from its k most similar bank features.

    Each neighbour votes for its class with weight ``exp(cosine / temperature)``. It
    measures a representation without training anything on top (Wu et al., Unsupervised
    Feature Learning via Non-Parametric Instance Discrimination, 2018, section 3.4).

    Args:
        bank (torch.Tensor): Labelled features; they need not be normalised.
        bank_labels (torch.Tensor): Their classes, integers from 0.
        queries (torch.Tensor): Features to classify, any number of them.
        k (int): Neighbours that vote, at least 1; clipped to the size of the bank.
            Defaults to 200.
        temperature (float): Above 0; lower lets the nearest neighbours decide.
            Defaults to 0.07.
        chunk_size (int, optional): Queries compared with the bank at once. By default
            as many as keep the similarities within 128 MiB.

    Shape:
        bank: (B, D); bank_labels: (B,); queries: (N, D); returns: (N,).

    Raises:
        ValueError: If the bank is empty, or ``k`` or ``temperature`` is out of range.
    """
    if len(bank) == 0:
        raise ValueError('The kNN bank is empty; give at least one labelled feature.')
    if k < 1 or temperature <= 0:
        raise ValueError(
            f'k must be at least 1 and temperature above 0, got {k} and {temperature}.'
        )
    k = min(k, len(bank))
    num_classes = int(bank_labels.max()) + 1
    bank = F.normalize(bank.float(), dim=1)
    queries = F.normalize(queries.float(), dim=1)
    chunk_size = chunk_size or max(1, _MAX_SIMILARITIES // len(bank))

    predictions = [bank_labels.new_empty(0)]
    for chunk in queries.split(chunk_size):
        similarity, index = (chunk @ bank.T).topk(k, dim=1)  # (n, k)
        # relative to the nearest neighbour, so that no temperature overflows
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = weight.new_zeros(len(chunk), num_classes)
        votes.scatter_add_(1, bank_labels[index], weight)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions)


def knn_top1(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    k: int = 200,
    temperature: float = 0.07,
) -> float:
    """Percentage of the queries whose class :func:`knn_classify` predicts.

    Args:
        bank, bank_labels, queries, k, temperature: As of :func:`knn_classify`.
        query_labels (torch.Tensor): True classes of the queries (N,).

    Raises:
        ValueError: If there is no query, or as :func:`knn_classify`.
    """
    if len(queries) == 0:
        raise ValueError('There is nothing to classify; give at least one query.')
    predictions = knn_classify(bank, bank_labels, queries, k, temperature)
    return 100.0 * (predictions == query_labels).float().mean().item()
