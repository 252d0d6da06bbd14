"""A plot of features in two dimensions, coloured by class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmaccel.errors import ConfigError

from .picture_text import legend_text, text_style

_MAX_NAMED = 20  # classes in the legend, and colours
_VARIES = 1e-4  # least distance of a unit vector from their mean; rounding is below
_TSNE_INPUT = 50


def embed(
    features: np.ndarray, method: str = 'pca', seed: int = 0
) -> tuple[np.ndarray, tuple[str, str]]:
    """Reduce features to two dimensions with scikit-learn.

    They are scaled to unit length first, since a contrastive loss and the kNN accuracy
    compare by cosine similarity.

    Args:
        features (np.ndarray): At least 3.
        method (str): ``'pca'``, or ``'tsne'``, which runs on their first 50 principal
            components. Defaults to ``'pca'``.
        seed (int): Of t-SNE. Defaults to 0.

    Shape:
        features: (N, D); returns: (N, 2), and the names of its axes.

    Raises:
        ConfigError: If all features are equal up to rounding, as those of a network
            that has collapsed: components of rounding errors would look like clusters.
        ValueError: If there are fewer than 3 features or the method is unknown.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    if len(features) < 3:
        raise ValueError(
            f'{len(features)} image(s) are too few; use 3 or more (--num, or a larger '
            'set)'
        )
    unit = normalize(features)
    if np.linalg.norm(unit - unit.mean(0), axis=1).max() < _VARIES:
        raise ConfigError(
            f'the features of all {len(unit)} images are equal up to rounding: nothing '
            'varies that could be drawn. The network has collapsed, or its weights are '
            'not those that were trained'
        )
    if method == 'pca':
        pca = PCA(n_components=2, random_state=seed)
        points = pca.fit_transform(unit)
        first, second = 100 * pca.explained_variance_ratio_
        return points, (
            f'component 1 ({first:.1f} % of the variance)',
            f'component 2 ({second:.1f} %)',
        )
    if method != 'tsne':
        raise ValueError(f"method={method!r} is unknown; use 'pca' or 'tsne'")
    most = min(_TSNE_INPUT, *unit.shape)
    reduced = PCA(n_components=most, random_state=seed).fit_transform(unit)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    tsne = TSNE(init='pca', perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(reduced), ('', '')


def plot_embedding(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    axis_names: tuple[str, str],
    title: str,
    out: str | Path,
) -> None:
    """Draw points coloured by class.

    Args:
        points (np.ndarray): (N, 2) from :func:`embed`.
        labels (np.ndarray): (N,) classes, indices of ``classes``.
        classes (Sequence[str]): Their names; more than 20 have no legend and share
            colours, which the title then says.
        axis_names (tuple[str, str]): Empty where coordinates have no meaning.
        title (str): Title.
        out (str or Path): File to write; its ending chooses the format.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    present = np.unique(labels)
    palette = colormaps['tab10' if len(present) <= 10 else 'tab20']
    colour = {label: palette(i % palette.N) for i, label in enumerate(present)}
    names = [legend_text(str(classes[label])) for label in present]
    if len(present) > _MAX_NAMED:
        title += f'\n{len(present)} classes share {palette.N} colours'
        names = []
    style = {'font.size': 9, 'legend.frameon': False, 'axes.linewidth': 0.6}
    style |= text_style([*names, title, *axis_names])
    # so that no class covers the others
    order = np.random.default_rng(0).permutation(len(points))
    with rc_context(style):
        figure = Figure(figsize=(5.6, 4.2), layout='constrained')
        axes = figure.subplots()
        axes.scatter(
            points[order, 0],
            points[order, 1],
            c=[colour[label] for label in labels[order]],
            s=9 if len(points) <= 3000 else 4,
            alpha=0.75,
            linewidths=0,
        )
        if names:
            for label, name in zip(present, names):
                axes.scatter([], [], color=colour[label], s=22, label=name)
            axes.legend(
                loc='center left',
                bbox_to_anchor=(1.0, 0.5),
                fontsize=8,
                handletextpad=0,
            )
        axes.set(xlabel=axis_names[0], ylabel=axis_names[1], xticks=[], yticks=[])
        axes.set_title(title, fontsize=9)
        axes.margins(0.03)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=200)
