"""Features in two dimensions against numpy's decomposition and nearest neighbours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from mmaccel.errors import ConfigError
from mmaccel.evaluation import picture_text
from mmaccel.evaluation.embedding_plot import embed, plot_embedding
from mmaccel.evaluation.picture_text import legend_text, text_style


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
        embed(np.eye(4), 'umap')


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


@pytest.fixture
def figures(monkeypatch):
    """Figures that are written, kept."""
    written, save = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        written.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', keep)
    return written


def draw(names, out):
    labels = np.arange(3 * len(names)) % len(names)
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    plot_embedding(points, labels, names, ('x', 'y'), 'title', out)


def test_any_name_is_in_the_legend_as_it_is(tmp_path, figures):
    long = [f'a species of a fine-grained set of many birds, number {i}' for i in '12']
    names = ['_background', 'cost in $', 'a$b$c^_', *long]
    draw(names, tmp_path / 'f.png')
    axes = figures[0].axes[0]
    texts = [text.get_text().strip('\u200b') for text in axes.get_legend().texts]
    assert texts[:3] == names[:3]
    assert len(set(texts)) == 5 and max(map(len, texts)) <= 28
    assert axes.get_position().width > 0.4  # of the picture


def test_more_classes_than_colours_are_told(tmp_path, figures):
    draw([f'class {i}' for i in range(21)], tmp_path / 'f.png')
    assert '21 classes share 20 colours' in figures[0].axes[0].get_title()
    draw([f'class {i}' for i in range(20)], tmp_path / 'f.png')
    assert 'colours' not in figures[1].axes[0].get_title()


def test_characters_come_from_a_font_that_has_them(monkeypatch):
    from matplotlib import font_manager

    own = font_manager.findfont('DejaVu Sans')
    monkeypatch.setattr(picture_text, '_installed', lambda: [('Other', 'other.ttf')])
    lacks = {own: {'猫'}, 'other.ttf': set()}
    monkeypatch.setattr(
        picture_text, '_missing', lambda chars, path: chars & lacks[path]
    )
    assert text_style(['猫', 'cat'])['font.family'] == ['DejaVu Sans', 'Other']
    assert text_style(['cat'])['font.family'] == ['DejaVu Sans']
    lacks['other.ttf'] = {'猫'}
    with pytest.warns(UserWarning, match='fonts-noto-cjk'):
        assert text_style(['猫'])['font.family'] == ['DejaVu Sans']


@pytest.mark.parametrize('method', ['pca', 'tsne'])
def test_features_that_do_not_vary_are_not_drawn(method):
    rng = np.random.default_rng(0)
    features = np.tile(rng.normal(size=64), (40, 1)).astype(np.float32)
    features *= 1 + 1e-6 * rng.normal(size=features.shape).astype(np.float32)
    with pytest.raises(ConfigError, match='nothing varies'):
        embed(features, method)


@pytest.mark.parametrize(
    ('name', 'shown'),
    [('', '(no name)'), (' \n', '(no name)'), ('a\nb\tc', 'a b c'), ('a_b', 'a_b')],
)
def test_names_are_one_line_and_never_empty(name, shown):
    assert legend_text(name) == shown
