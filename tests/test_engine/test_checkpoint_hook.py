import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

import tests.hooks  # noqa: F401
from mmaccel.engine import SafeCheckpointHook
from mmaccel.engine.checkpoints import is_whole
from mmaccel.engine.hooks import ThroughputHook
from mmaccel.errors import ConfigError, TrainingStopped
from mmaccel.fileio import write_atomically
from tests.builders import build, moco_config
from tests.folder_run import write_config, write_images
from tests.processes import run_tool


class Runner(SimpleNamespace):
    """As much of a runner as the hook needs; checks what stands while it saves."""

    def __init__(self, folder, name):
        super().__init__(
            work_dir=str(folder),
            model=nn.Linear(2, 2),
            message_hub=MessageHub.get_instance(name),
            logger=SimpleNamespace(info=print, warning=print),
            optim_wrapper=None,
            train_loop=SimpleNamespace(moved=False),
            epoch=0,
            iter=0,
            during=[],
            hooks=[],
            _resume=False,
            _load_from='other.pth',
        )

    def save_checkpoint(self, out_dir, filename, *args, backend_args=None, **kwargs):
        assert backend_args == dict(backend='mmaccel_atomic')
        self.during.append(checkpoints(self))
        torch.save({}, f'{out_dir}/{filename}')


def checkpoints(runner):
    return sorted(path.name for path in Path(runner.work_dir).glob('*.pth'))


@pytest.fixture
def runner(tmp_path, request):
    return Runner(tmp_path, f'{request.node.name}-{tmp_path}')


def save(hook, runner, *epochs):
    for epoch in epochs:
        runner.epoch = epoch - 1
        hook._save_checkpoint(runner)


def test_saving_within_an_epoch_is_no_training_time(runner, monkeypatch):
    clock = ThroughputHook()
    runner.hooks = [clock]
    clock.before_train(runner)
    hook = SafeCheckpointHook(interval=1)
    hook.before_train(runner)
    save_checkpoint = runner.save_checkpoint
    runner.save_checkpoint = lambda *a, **k: time.sleep(1) or save_checkpoint(*a, **k)
    clock.before_train_epoch(runner)
    save(hook, runner, 1)
    clock.after_train_iter(runner, 0)
    assert 0 < runner.message_hub.get_info('train_seconds') < 0.5


def test_old_checkpoints_go_after_the_new_one_stands(runner):
    hook = SafeCheckpointHook(interval=1, max_keep_ckpts=2)
    hook.before_train(runner)
    save(hook, runner, 1, 2, 3)
    # while epoch 3 was written, both that were kept before were still there
    assert runner.during[2] == ['epoch_1.pth', 'epoch_2.pth']
    assert checkpoints(runner) == ['epoch_2.pth', 'epoch_3.pth']
    pointer = f'{runner.work_dir}/epoch_3.pth'
    assert Path(runner.work_dir, 'last_checkpoint').read_text() == pointer
    assert runner.message_hub.get_info('last_ckpt') == pointer
    assert runner.message_hub.get_info('keep_ckpt_ids') == [2, 3]
    # a resumed run goes on keeping two
    hook = SafeCheckpointHook(interval=1, max_keep_ckpts=2)
    hook.before_train(runner)
    save(hook, runner, 4)
    assert checkpoints(runner) == ['epoch_3.pth', 'epoch_4.pth']


@pytest.mark.parametrize('moved', [False, True])
def test_gradients_of_an_update_that_is_not_continued_are_dropped(runner, moved):
    """Resumed with another batch, the run goes on with an update of its own."""
    gradients = {
        name: torch.ones_like(p) for name, p in runner.model.named_parameters()
    }
    hook = SafeCheckpointHook(interval=1)
    hook._gradients = gradients
    runner.train_loop.moved = moved
    hook.before_train(runner)
    for name, parameter in runner.model.named_parameters():
        assert (parameter.grad is None) == moved
        assert moved or torch.equal(parameter.grad, gradients[name])


def test_all_are_kept_by_default(runner):
    hook = SafeCheckpointHook(interval=1)
    hook.before_train(runner)
    save(hook, runner, 1, 2, 3)
    assert checkpoints(runner) == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']


@pytest.mark.parametrize('save_best', ['top1', ['top1', 'top5']])
def test_best_checkpoint_is_replaced_after_the_better_one_stands(runner, save_best):
    hook = SafeCheckpointHook(interval=1, save_best=save_best, rule='greater')
    hook.before_train(runner)
    best = []
    for epoch, score in enumerate((0.5, 0.4, 0.6), 1):
        save(hook, runner, epoch)
        runner.epoch, runner.during = epoch, []
        hook.after_val_epoch(runner, dict(top1=score, top5=score + 0.1))
        best.append([name for name in checkpoints(runner) if 'best' in name])
    keys = [save_best] if isinstance(save_best, str) else save_best
    expected = [[f'best_{key}_epoch_{n}.pth' for key in keys] for n in (1, 1, 3)]
    assert best == expected
    assert f'best_{keys[0]}_epoch_1.pth' in runner.during[0]
    info = 'best_ckpt' if len(keys) == 1 else 'best_ckpt_top1'
    assert runner.message_hub.get_info(info).endswith('best_top1_epoch_3.pth')


def test_what_a_killed_run_left_is_removed(runner, tmp_path):
    (tmp_path / '.epoch_1.pth.writing').write_bytes(b'half')
    SafeCheckpointHook().before_train(runner)
    assert not list(tmp_path.iterdir())


def test_another_folder_for_checkpoints(runner, tmp_path):
    hook = SafeCheckpointHook(out_dir=str(tmp_path / 'big'))
    hook.before_train(runner)
    assert hook.out_dir == str(tmp_path / 'big' / tmp_path.name)


def test_weights_that_are_no_numbers_are_not_saved(runner):
    hook = SafeCheckpointHook()
    hook.before_train(runner)
    save(hook, runner, 1)
    runner.model.weight.data[0] = float('nan')
    with pytest.raises(TrainingStopped, match=r'weight is no longer.*epoch_1.pth'):
        save(hook, runner, 2)
    assert checkpoints(runner) == ['epoch_1.pth']


def refusal(runner, model, resume, state_dict):
    runner.model, runner._resume = model, resume
    checkpoint = dict(state_dict=state_dict)
    with pytest.raises(ConfigError) as caught:
        SafeCheckpointHook().after_load_checkpoint(runner, checkpoint)
    return str(caught.value)


def test_checkpoint_of_another_architecture_is_refused(runner):
    model = build(moco_config(accel=True))
    other = build(moco_config(accel=False)).state_dict()
    for resume, remedy in ((True, 'resume with the config'), (False, 'backbone alone')):
        text = refusal(runner, model, resume, other)
        assert text.startswith('the checkpoint other.pth has another architecture')
        assert 'missing in it: ' in text and remedy in text and 'more' in text
    hook = SafeCheckpointHook()
    for runner._resume in (True, False):
        hook.after_load_checkpoint(runner, dict(state_dict=model.state_dict()))
        hook.after_load_checkpoint(runner, model.state_dict())


def test_one_name_or_shape_more_or_less(runner):
    model = build(moco_config(accel=False))
    state = model.state_dict()
    few = {name: x for name, x in state.items() if name != 'queue'}
    more = dict(state, extra=torch.zeros(1))
    for part in (few, more):
        refusal(runner, model, True, part)
        runner._resume = False
        SafeCheckpointHook().after_load_checkpoint(runner, dict(state_dict=part))
    longer = dict(state, queue=torch.zeros(16, 64))
    for resume in (True, False):
        assert 'of another shape: queue' in refusal(runner, model, resume, longer)


@pytest.fixture
def small_run(tmp_path):
    """Start a run of two epochs with a hook; return exit code, log and folder."""
    images, out = tmp_path / 'images', tmp_path / 'out'
    write_images(images, 8)

    def start(hook, *argv):
        config = write_config(
            tmp_path / 'run.py',
            images,
            custom_hooks=[hook],
            **{'train_dataloader.num_workers': 0},
        )
        log = tmp_path / 'log.txt'
        code = run_tool('train', config, '--work-dir', str(out), *argv, log=log)
        return code, log.read_text(), out

    return start


def test_full_disk_leaves_the_previous_checkpoint(small_run):
    code, log, out = small_run(dict(type='FullDiskHook', save=2))
    last = log.strip().splitlines()[-1]
    assert code == 1 and 'Traceback' not in log
    for part in ('iteration 5', 'disk is full', f'{out}/epoch_1.pth', '--resume'):
        assert part in last
    assert is_whole(out / 'epoch_1.pth')
    assert not (out / 'epoch_2.pth').exists() and not list(out.glob('.*.writing'))
    assert (out / 'last_checkpoint').read_text() == str(out / 'epoch_1.pth')
    # with space again the same command goes on
    code, log, out = small_run(dict(type='FullDiskHook', save=9), '--resume')
    assert code == 0 and is_whole(out / 'epoch_2.pth')


def test_nan_loss_stops_without_a_checkpoint(small_run):
    code, log, out = small_run(dict(type='SpoilHook', before=3))
    last = log.strip().splitlines()[-1]
    assert code == 1 and 'Traceback' not in log
    assert last.startswith('error: the loss became nan at iteration 4 (epoch 2')
    assert f'the last good checkpoint is {out}/epoch_1.pth' in last
    assert [path.name for path in out.glob('*.pth')] == ['epoch_1.pth']
    assert any(last[7:] in path.read_text() for path in out.glob('*/*.log'))


def test_weights_spoilt_behind_a_good_loss_are_not_saved(small_run):
    code, log, out = small_run(dict(type='SpoilHook', after=3))
    assert code == 1 and 'is no longer finite at iteration' in log
    assert [path.name for path in out.glob('*.pth')] == ['epoch_1.pth']


def test_atomic_backend_is_what_mmengine_writes_with(tmp_path, monkeypatch):
    from mmengine.runner import save_checkpoint

    written = []
    monkeypatch.setattr(
        'mmaccel.engine.checkpoints.write_atomically',
        lambda path, data: (written.append(str(path)), write_atomically(path, data)),
    )
    path = str(tmp_path / 'x.pth')
    save_checkpoint(dict(a=1), path, backend_args=dict(backend='mmaccel_atomic'))
    assert written == [path] and torch.load(path) == dict(a=1)
