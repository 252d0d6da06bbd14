"""``mmaccel spread``."""

import json
import math

import pytest
import torch

from mmaccel.analysis.spread import spread_of
from tests.builders import build, moco_config, simclr_config, swav_config, views
from tests.folder_run import write_images, write_trained
from tests.processes import exit_code


@pytest.fixture
def run(tmp_path):
    """A config, a checkpoint of its model and twelve images."""
    write_images(tmp_path / 'images', number=12)
    return write_trained(tmp_path, tmp_path / 'images', accel=True)


def command(run, *more):
    return exit_code('spread', run / 'cfg.py', run / 'epoch_1.pth', *more)


def plain(first, second):
    """Mean similarities in a loop over pairs."""
    pairs = [[float(a @ b) for b in second] for a in first]
    size = len(first)
    same = [pairs[i][i] for i in range(size)]
    other = [pairs[i][j] for i in range(size) for j in range(size) if i != j]
    return sum(same) / len(same), sum(other) / len(other)


@pytest.mark.parametrize(
    'config',
    [
        moco_config(accel=False),
        simclr_config(accel=False),
        swav_config([2], accel=False),
    ],
    ids=['moco', 'simclr', 'swav'],
)
def test_upstream_is_measured_behind_its_own_projector(config):
    model = build(config)
    inputs = views(batch=6)
    found = spread_of(model, inputs)
    assert list(found) == [4]
    vectors = []
    for view in inputs:
        maps = model.backbone(view)
        z = model.neck([maps] if 'SwAV' in type(model).__name__ else maps)[0]
        vectors.append((z / z.norm(dim=1, keepdim=True)).detach())
    same, other = plain(*vectors)
    assert found[4].pos_sim == pytest.approx(same, abs=1e-5)
    assert found[4].neg_sim == pytest.approx(other, abs=1e-5)
    assert 1 <= found[4].effective_rank <= 6


@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [
        (moco_config(), moco_config(accel=False)),
        (simclr_config(), simclr_config(accel=False)),
        (swav_config([2]), swav_config([2], accel=False)),
    ],
    ids=['moco', 'simclr', 'swav'],
)
def test_the_last_stage_is_measured_as_upstreams(ours, theirs):
    accel, upstream = build(ours), build(theirs)
    upstream.backbone.load_state_dict(accel.backbone.state_dict())
    upstream.neck.load_state_dict(accel.neck.projectors[-1].state_dict())
    found = spread_of(accel, views(batch=6))
    assert list(found) == [1, 2, 3, 4]
    expected = spread_of(upstream, views(batch=6))[4]
    assert found[4] == pytest.approx(expected, abs=1e-5)


def test_a_collapse_is_seen():
    model = build(moco_config())
    for parameter in model.neck.projectors[1].parameters():
        torch.nn.init.zeros_(parameter)
    list(model.neck.projectors[1].parameters())[-1].data[0] = 1  # one direction
    found = spread_of(model, views(batch=6))
    healthy, collapsed = found[1], found[2]
    assert collapsed.pos_sim == pytest.approx(1)
    assert collapsed.neg_sim == pytest.approx(1)
    assert collapsed.feature_std == pytest.approx(0, abs=1e-5)
    assert collapsed.effective_rank == pytest.approx(1, abs=1e-3)
    assert healthy.effective_rank > 1.2 and healthy.feature_std > 0.02


def test_the_command_prints_and_writes_every_stage(run, capsys):
    assert command(run, '--num', 8, '--json', run / 'spread.json') == 0
    *_, title, _, first, second, third, last = capsys.readouterr().out.splitlines()
    lines = [first, second, third, last]
    assert title.startswith('8 images')
    written = json.loads((run / 'spread.json').read_text())
    assert [line.split()[0] for line in lines] == list(written) == list('1234')
    for line, spread in zip(lines, written.values()):
        printed = [float(word) for word in line.split()[1:]]
        assert printed == pytest.approx(list(spread.values()), abs=0.06)
        assert all(math.isfinite(value) for value in spread.values())
    assert command(run, '--num', 8, '--json', run / 'again.json') == 0
    assert json.loads((run / 'again.json').read_text()) == written  # one seed
    assert command(run) == 0
    assert '12 images' in capsys.readouterr().out  # no more are there


@pytest.mark.parametrize(
    ('more', 'reason'),
    [
        (['--num', 1], '--num 1 of 12 images'),
        (['--cfg-options', 'model.neck.out_channels=7'], 'of another shape'),
    ],
)
def test_what_cannot_be_measured_is_refused(run, capsys, more, reason):
    assert command(run, *more) == 1
    assert reason in capsys.readouterr().err
