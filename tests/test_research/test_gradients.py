"""The instrument: gradients beside plain autograd's, the picture, the command."""

import json
from types import SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from mmaccel.errors import ConfigError
from mmaccel.models.plan import StepPlan
from research import gradients as tool
from research.parts import DetachedExitsHook
from research.study.gradients import (
    OTHER_VIEWS,
    WHOLE,
    cheap_steps,
    compare,
    gradient,
    stage_parameters,
    whole_step,
)
from research.study.gradients_plot import _heat_map, cosine, gradients_plot
from research.study.report import Report
from tests.builders import build, moco_config, simclr_config, views
from tests.folder_run import write_config, write_images, write_trained

CONFIGS = dict(moco=moco_config(), simclr=simclr_config())


@pytest.fixture(params=CONFIGS)
def model(request):
    return build(CONFIGS[request.param])


def inputs(seed=0):
    return views(batch=8, size=32, seed=seed)


def plain(model, images, exit_stage):
    """Gradient of one exit's loss per stage, written with upstream's modules alone."""

    def encode(x):
        net = model.backbone
        x = net.maxpool(net.relu(net.norm1(net.conv1(x))))
        for stage in range(1, exit_stage + 1):
            x = getattr(net, f'layer{stage}')(x)
        return normalize(model.neck.projectors[exit_stage - 1]((x,))[0], dim=1)

    if hasattr(model, 'queues'):  # the key encoder's first update copies the query's
        q = encode(images[0])
        with torch.no_grad():
            k = encode(images[1])
        negatives = q @ model.queues[exit_stage - 1].features.clone()
        logits = torch.cat([(q * k).sum(1, keepdim=True), negatives], 1) / 0.2
        loss = cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
    else:
        z = encode(torch.stack(images, 1).flatten(0, 1))
        logits = (z @ z.t() / 0.1).fill_diagonal_(-torch.inf)
        loss = cross_entropy(logits, torch.arange(len(z)) ^ 1)
    backbone = model.backbone
    first = [p for n, p in backbone.named_parameters() if not n.startswith('layer')]
    first += backbone.layer1.parameters()
    later = [list(getattr(backbone, f'layer{s}').parameters()) for s in (2, 3, 4)]
    return [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss, p, retain_graph=True)]
        )
        for p in [first, *later][:exit_stage]
    ]


@pytest.mark.parametrize('exit_stage', [1, 3, 4])
def test_an_exits_gradient_is_plain_autograds_up_to_it(model, exit_stage):
    expected = plain(model, inputs(), exit_stage)
    found = gradient(model, inputs(), cheap_steps(model)[f'exit {exit_stage}'])
    assert [g is None for g in found] == [s >= exit_stage for s in range(4)]
    for ours, theirs in zip(found, expected):
        assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=1e-3)
        assert cosine_similarity(ours, theirs, dim=0).item() == pytest.approx(
            1, abs=1e-4
        )
    if exit_stage == 4:
        whole = gradient(model, inputs(), whole_step(model))
        assert all(torch.equal(a, b) for a, b in zip(found, whole))


def test_measuring_leaves_the_model_as_it_was(model):
    before = {name: x.clone() for name, x in model.state_dict().items()}
    for step in cheap_steps(model).values():
        first = gradient(model, inputs(), step, seed=1)
        second = gradient(model, inputs(), step, seed=1)
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(first, second))
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert model.plan is None and model.crop_layer is None


def test_truncated_keys_change_no_gradient_of_their_own_step():
    model = build(moco_config())
    step = cheap_steps(model)['exit 2']
    whole = gradient(model, inputs(), step)
    model.key_forward = 'truncated'
    short = gradient(model, inputs(), step)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(whole, short))


@pytest.fixture(scope='module')
def compared():
    model = build(simclr_config())
    batches = [(inputs(i), inputs(10 + i)) for i in range(2)]
    return model, batches, compare(model, batches)


def test_cosines_of_a_step_with_itself_and_where_there_is_none(compared):
    _, _, found = compared
    same = {name: row['same_images'] for name, row in found.items()}
    assert same[WHOLE] == same['exit 4'] == [1, 1, 1, 1]
    assert same['exit 2'][2:] == [None, None] and None not in same['exit 2'][:2]
    assert same['entry 3'] == [None, None, 1, 1]  # what it computes is the whole one's
    assert same['exit 4, summed'][3] == pytest.approx(1)
    assert 0 < same['exit 4, summed'][0] < 1
    for name in (OTHER_VIEWS, 'views of 1/2', 'windows, hard', 'windows, random'):
        assert all(abs(x) < 1 for x in same[name])
    assert same['windows, hard'] != same['windows, easy']


def test_the_ceiling_is_the_cosine_of_two_batches_gradients(compared):
    model, batches, found = compared
    first, second = (
        gradient(model, seen, whole_step(model), i)
        for i, (seen, _) in enumerate(batches)
    )
    expected = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(first, second)]
    assert found[WHOLE]['other_images'] == pytest.approx(expected, abs=1e-3)
    assert found['exit 1']['norm_ratio'][0] > 0


def test_exits_against_the_batch_are_measured_where_a_queue_is():
    model = build(moco_config())
    steps = cheap_steps(model)
    assert 'exit 4, batch negatives' in steps
    whole, batch = (
        gradient(model, inputs(), steps[name])
        for name in ('exit 4', 'exit 4, batch negatives')
    )
    assert not torch.equal(whole[3], batch[3])
    model.negatives = ('batch',) * 4
    assert 'exit 4, batch negatives' not in cheap_steps(model)
    assert torch.equal(gradient(model, inputs(), whole_step(model))[3], batch[3])


def test_beside_a_training_exits_leave_the_backbone_to_the_last_loss():
    model = build(simclr_config())
    expected = gradient(model, inputs(), whole_step(model))
    model.plan = StepPlan(4, loss_on='cumulative', windows=False)
    DetachedExitsHook().before_train(SimpleNamespace(model=model))
    loss, _ = model.parse_losses(model.loss(inputs(), []))
    loss.backward()
    for stage, parameters in zip(expected, stage_parameters(model.backbone)):
        found = torch.cat([p.grad.flatten() for p in parameters])
        assert torch.equal(found, stage)
    for projector in model.neck.projectors:
        assert all(p.grad.abs().sum() > 0 for p in list(projector.parameters())[:1])


def test_the_picture_says_where_there_is_no_gradient():
    axes = Figure().add_subplot()
    _heat_map(axes, [[1.0, None], [-0.254, -0.001]])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ['1.00', '–', '−0.25', '0.00']


def test_a_report_shows_them_and_knows_when_they_change(tmp_path):
    report, file = tmp_path / 'report.md', tmp_path / 'g.json'
    row = dict(same_images=[1.0, None], other_images=[0.25, None])
    found = dict(
        model='AccelSimCLR', device='A CPU', versions=dict(torch='2'), batches=2,
        batch_size=4, image_size=24, checkpoints=dict(late={'exit 1': row}),
    )  # fmt: skip
    report.write_text(
        '<!-- [[[cog\n'
        "cosine = gradients('g.png', 'g.json', alt='cosines')\n"
        "print(cosine('late', 'exit 1', 1, 'other_images'))\n"
        ']]] -->\n<!-- [[[end]]] -->\n'
    )
    with pytest.raises(ConfigError, match='g.json'):
        Report(report, [])
    file.write_text(json.dumps(found))
    Report(report, []).write()
    text = report.read_text()
    assert '![cosines](g.png)' in text and '2 batches of 4 images; A CPU' in text
    assert '\n0.25\n' in text
    assert not Report(report, []).outdated()
    row['other_images'][0] = 0.75
    file.write_text(json.dumps(found))
    outdated = Report(report, []).outdated()
    assert 'g.png shows other numbers' in outdated and '+0.75' in outdated


def test_the_command_measures_draws_and_writes(tmp_path, capsys):
    write_images(tmp_path / 'data/train', number=12)
    run = write_trained(tmp_path, tmp_path / 'elsewhere', accel=True)
    files = [str(run / 'cfg.py'), str(run / 'epoch_1.pth')]
    out, numbers = tmp_path / 'g.png', tmp_path / 'g.json'
    args = [
        *files, '--data-root', str(tmp_path / 'data'), '--batches', '2',
        '--batch-size', '4', '--out', str(out),
    ]  # fmt: skip
    assert tool.main([*args, '--json', str(numbers), '--labels', 'late']) == 0
    found = json.loads(numbers.read_text())
    assert found['model'] == 'AccelMoCo'
    assert 'cfg.py epoch_1.pth --batches 2' in found['command']
    assert list(found['checkpoints']) == ['late']
    assert (found['batches'], found['batch_size'], found['image_size']) == (2, 4, 32)
    assert gradients_plot(found).is_drawn(out)
    assert cosine(found, 'late', 'exit 4', 1) == 1
    assert cosine(found, 'late', 'exit 2', 3) is None
    with pytest.raises(ConfigError, match='exit 9'):
        cosine(found, 'late', 'exit 9', 1)

    assert tool.main([*args, '--batches', '4']) == 1
    assert '--batches' in capsys.readouterr().err
    plain = write_config(tmp_path / 'plain.py', tmp_path / 'data/train')
    torch.save(
        dict(state_dict=build(moco_config(accel=False)).state_dict()),
        tmp_path / 'plain.pth',
    )
    assert tool.main([plain, str(tmp_path / 'plain.pth'), *args[2:]]) == 1
    assert 'no exits' in capsys.readouterr().err


@pytest.mark.parametrize(
    'more', [['--batches', '1'], ['--labels', 'a', 'b'], ['--out', 'g.pdf']]
)
def test_arguments_are_checked_at_once(more, capsys):
    with pytest.raises(SystemExit):
        tool.main(['cfg.py', 'a.pth', '--out', 'g.png', *more])
    assert more[0] in capsys.readouterr().err
