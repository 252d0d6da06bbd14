"""``mmaccel plot``."""

import json

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmaccel.evaluation.time_accuracy_plot import add_legend
from tests.processes import exit_code
from tests.test_evaluation.test_curves import point, write


@pytest.fixture
def runs(tmp_path):
    for i, slope in enumerate((1, 3, 5)):
        points = [point(10 * e, 60 * e, 20 + slope * e) for e in range(5)]
        write(tmp_path / f'run{i}' / 'vis_data', points)
    return [str(tmp_path / f'run{i}') for i in range(3)]


def test_picture_and_points(runs, tmp_path, capsys):
    out, points = tmp_path / 'new' / 'f.png', tmp_path / 'f.json'
    argv = [*runs, '--labels', 'A', 'B', 'A', '--out', str(out), '--json', str(points)]
    assert exit_code('plot', *argv) == 0
    image = matplotlib.image.imread(out)
    assert image.shape[0] > 400 and image.shape[1] > 600
    # both colours are in the picture, and the band of A
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        near = np.abs(image[..., :3] - np.array(colour) / 255).max(-1) < 0.02
        assert near.sum() > 200

    report = json.loads(points.read_text())
    assert report['metric'] == 'knn_top1'
    first, second = report['curves']
    assert (first['label'], first['n']) == ('A', 2)
    assert (second['label'], second['n']) == ('B', 1)
    assert first['mean'] == [20, 23, 26, 29, 32]
    assert first['min'][-1] == 24 and first['max'][-1] == 40
    assert second['train_seconds'] == [0, 60, 120, 180, 240]
    assert (
        'A: knn_top1 32.00 after 240 s of training (runs: 2)' in capsys.readouterr()[0]
    )


def test_labels_are_shown_as_they_are(runs, tmp_path, monkeypatch):
    written, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, 'savefig', lambda f, *a, **k: (written.append(f), save(f, *a, **k))
    )
    argv = [*runs, '--labels', '_old', 'lr=$0.1$', 'new', '--out', tmp_path / 'f.png']
    assert exit_code('plot', *argv) == 0
    texts = [text.get_text() for text in written[0].axes[0].get_legend().texts]
    assert [text.strip('\u200b') for text in texts] == ['_old', 'lr=$0.1$', 'new']


def test_a_method_and_its_accelerated_form_share_a_colour(runs, tmp_path):
    """Dashed and solid, so that the solid line has more of the colour."""
    strong = {}
    for labels in (('X', 'Accel-X'), ('X', 'Y')):
        out = tmp_path / f'{labels[1]}.png'
        argv = [*runs[:2], '--labels', *labels, '--out', str(out)]
        assert exit_code('plot', *argv) == 0
        image = matplotlib.image.imread(out)[..., :3]
        strong[labels[1]] = [
            (np.abs(image - np.array(colour) / 255).max(-1) < 0.02).sum()
            for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0))
        ]
    assert strong['Accel-X'][1] == 0 and strong['Y'][1] > 200
    # one solid and one dashed line, against one solid line
    assert 1.3 < strong['Accel-X'][0] / strong['Y'][0] < 1.9


def test_a_long_legend_hides_no_curve():
    figure = Figure()
    axes = figure.subplots()
    for number in range(6):  # all over the axes, so that no place is free
        axes.plot(range(9), [(number + x) % 6 for x in range(9)], label=str(number))
    add_legend(figure, axes)
    figure.draw_without_rendering()
    legend = axes.get_legend().get_window_extent()
    assert legend.y0 >= axes.get_window_extent().y1 and legend.width > 50


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['missing'], 'has no vis_data/scalars.json'),
        (['{run}', '--metric', 'acc'], "no scalar 'acc'; it has knn_top1"),
    ],
)
def test_errors_in_one_line(runs, tmp_path, capsys, argv, message):
    argv = [arg.format(run=runs[0]) for arg in argv]
    assert exit_code('plot', *argv, '--out', str(tmp_path / 'f.png')) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1
    assert not (tmp_path / 'f.png').exists()


def test_labels_must_fit(runs, tmp_path, capsys):
    argv = [*runs, '--labels', 'A', '--out', tmp_path / 'f.png']
    assert exit_code('plot', *argv) == 2
    assert '1 labels for 3 runs' in capsys.readouterr().err
