"""``mmaccel features``."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmaccel.evaluation import embedding_plot
from mmaccel.evaluation.labelled_images import folder_set, load_set
from tests.builders import build
from tests.folder_run import write_config, write_images, write_trained
from tests.processes import exit_code


@pytest.fixture
def run(tmp_path):
    """A config, a checkpoint of its model and three classes of four images."""
    for i, name in enumerate(('ant', 'bee', 'cat')):
        write_images(tmp_path / 'set/test' / name, number=4, seed=i)
    return write_trained(tmp_path, tmp_path / 'set')


def command(run, *more):
    paths = (run / 'cfg.py', run / 'epoch_1.pth', '--out', run / 'f.png')
    return exit_code('features', *paths, *more)


def test_a_folder_of_classes(run, capsys, monkeypatch):
    drawn = {}

    def plot(points, labels, classes, names, title, out):
        drawn.update(points=points, labels=labels, classes=classes)

    monkeypatch.setattr(embedding_plot, 'plot_embedding', plot)
    assert command(run, '--data-root', run / 'set') == 0
    assert 'PCA of 64 features, 12 images' in capsys.readouterr().out
    assert drawn['labels'].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert drawn['classes'] == ['ant', 'bee', 'cat']

    # the same by hand: load, normalise, average, decompose
    cfg = Config.fromfile(str(run / 'cfg.py'))
    model = build(cfg.model).eval()
    weights = torch.load(run / 'epoch_1.pth', weights_only=True)['state_dict']
    model.load_state_dict(weights)
    (batch,), _ = load_set(folder_set(cfg, str(run / 'set/test')))
    mean, std = (torch.tensor(cfg.model.data_preprocessor[k]) for k in ('mean', 'std'))
    x = batch['inputs'][0] if isinstance(batch['inputs'], list) else batch['inputs']
    x = (x.float().flip(1) - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        z = model.backbone(x)[-1].mean((2, 3)).numpy()
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(drawn['points']), np.abs(u * s)[:, :2], atol=1e-4)


def test_the_configs_own_set_and_a_number(run, capsys):
    labelled = folder_set(Config.fromfile(str(run / 'cfg.py')), str(run / 'set/test'))
    hook = dict(
        type='KNNHook',
        train_dataloader=dict(dataset=labelled),
        test_dataloader=dict(dataset=labelled),
    )
    write_config(run / 'cfg.py', run / 'set', custom_hooks=[hook])
    assert command(run, '--num', 6) == 0
    assert '6 images' in capsys.readouterr().out
    assert (run / 'f.png').stat().st_size > 10_000


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('no set', 'give --data-root'),
        ('prefix', "no backbone under the prefix 'encoder.'"),
        ('no folder', 'has no images in test/<class>/'),
        ('split', 'has no images in train/<class>/'),
        ('num', 'at least 3'),
    ],
)
def test_refusals(run, capsys, change, message):
    more = [] if change == 'no set' else ['--data-root', run / 'set']
    if change == 'prefix':
        more += ['--prefix', 'encoder.']
    elif change == 'num':
        more += ['--num', '2']
    elif change == 'split':
        more += ['--split', 'train']
    elif change == 'no folder':
        more[-1] = run / 'nowhere'
    assert command(run, *more) == (2 if change == 'num' else 1)
    assert message in capsys.readouterr().err
    assert not (run / 'f.png').exists()
