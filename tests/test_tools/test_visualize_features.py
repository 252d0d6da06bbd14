"""tools/analysis_tools/visualize_features.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmaccel.evaluation.labelled_images import folder_set, load_set
from tests.builders import build, moco_config
from tests.folder_run import write_config, write_images

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'visualize_features.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('visualize_features', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A config, a checkpoint of its model and three classes of four images."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda x, **_: (x, True))
    for i, name in enumerate(('ant', 'bee', 'cat')):
        write_images(tmp_path / 'set' / name, number=4, seed=i)
    config = write_config(tmp_path / 'cfg.py', tmp_path / 'set')
    model = build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'epoch_1.pth')
    return tmp_path


def command(run, *more):
    given = [run / 'cfg.py', run / 'epoch_1.pth', '--out', run / 'f.png', *more]
    return [str(x) for x in given]


def test_a_folder_of_classes(tool, run, capsys, monkeypatch):
    drawn = {}

    def plot(points, labels, classes, names, title, out):
        drawn.update(points=points, labels=labels, classes=classes)

    monkeypatch.setattr(tool, 'plot_embedding', plot)
    assert tool.main(command(run, '--data-root', run / 'set')) == 0
    assert 'PCA of 64 features, 12 images' in capsys.readouterr().out
    assert drawn['labels'].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert drawn['classes'] == ['ant', 'bee', 'cat']

    # the same by hand: load, normalise, average, decompose
    cfg = Config.fromfile(str(run / 'cfg.py'))
    model = build(cfg.model).eval()
    weights = torch.load(run / 'epoch_1.pth', weights_only=True)['state_dict']
    model.load_state_dict(weights)
    (batch,), _ = load_set(folder_set(cfg, str(run / 'set')))
    mean, std = (torch.tensor(cfg.model.data_preprocessor[k]) for k in ('mean', 'std'))
    x = batch['inputs'][0] if isinstance(batch['inputs'], list) else batch['inputs']
    x = (x.float().flip(1) - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        z = model.backbone(x)[-1].mean((2, 3)).numpy()
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(drawn['points']), np.abs(u * s)[:, :2], atol=1e-4)


def test_the_configs_own_set_and_a_number(tool, run, capsys):
    labelled = folder_set(Config.fromfile(str(run / 'cfg.py')), str(run / 'set'))
    hook = dict(
        type='KNNHook',
        train_dataloader=dict(dataset=labelled),
        test_dataloader=dict(dataset=labelled),
    )
    write_config(run / 'cfg.py', run / 'set', custom_hooks=[hook])
    assert tool.main(command(run, '--num', '6')) == 0
    assert '6 images' in capsys.readouterr().out
    assert (run / 'f.png').stat().st_size > 10_000


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('no set', 'give --data-root'),
        ('prefix', "no backbone under the prefix 'encoder.'"),
        ('depth', 'do not fit'),
        ('cut', 'damaged'),
        ('no folder', 'does not exist'),
        ('num', 'give at least 3'),
    ],
)
def test_refusals(tool, run, capsys, change, message):
    more = [] if change == 'no set' else ['--data-root', run / 'set']
    path = run / 'epoch_1.pth'
    if change == 'prefix':
        more += ['--prefix', 'encoder.']
    elif change == 'num':
        more += ['--num', '2']
    elif change == 'no folder':
        more[-1] = run / 'nowhere'
    elif change == 'cut':
        path.write_bytes(path.read_bytes()[:2000])
    elif change == 'depth':
        other = moco_config(accel=False)
        other['backbone']['depth'] = 34
        torch.save(dict(state_dict=build(other).state_dict()), path)
    assert tool.main(command(run, *more)) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error and error.count('\n') == 1
    assert not (run / 'f.png').exists()
