"""Features in two dimensions against numpy's decomposition and nearest neighbours."""

import numpy as np
import pytest

from mmaccel.evaluation.embedding_plot import embed, plot_embedding


def clusters(number=40, dimension=6, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(dimension)[:3] * 5
    labels = np.arange(number) % 3
    return centres[labels] + rng.normal(0, 0.2, (number, dimension)), labels


def test_pca_by_numpy():
    features, _ = clusters()
    points, names = embed(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u * s)[:, :2], atol=1e-6)
    share = 100 * s**2 / (s**2).sum()
    assert names[0] == f'component 1 ({share[0]:.1f} % of the variance)'
    assert names[1] == f'component 2 ({share[1]:.1f} %)'


def test_tsne_keeps_neighbours_and_its_seed():
    features, labels = clusters()
    points, names = embed(features, 'tsne', seed=1)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).all()
    np.testing.assert_array_equal(points, embed(features, 'tsne', seed=1)[0])
    assert names == ('', '')


def test_refusals():
    with pytest.raises(ValueError, match='use 3 or more'):
        embed(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="use 'pca' or 'tsne'"):
        embed(np.ones((4, 4)), 'umap')


def test_one_colour_a_class(tmp_path):
    from matplotlib import colormaps, image

    labels = np.array([4] * 100 + [7] * 100)
    points = np.random.default_rng(0).normal(size=(200, 2))
    names = [f'class {i}' for i in range(10)]
    plot_embedding(
        points, labels, names, ('x', 'y'), 'title', tmp_path / 'new' / 'f.png'
    )
    picture = image.imread(tmp_path / 'new' / 'f.png')[..., :3]
    palette = np.array(colormaps['tab10'].colors)
    seen = [(np.abs(picture - c).max(-1) < 0.02).sum() for c in palette]
    assert min(seen[:2]) > 50  # the legend's, at full strength
    assert max(seen[2:7] + seen[8:]) == 0  # the eighth is grey, as text is
