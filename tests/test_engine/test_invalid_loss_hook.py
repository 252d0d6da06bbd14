from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmaccel.engine import InvalidLossHook
from mmaccel.errors import TrainingStopped


def runner(request, loss, exit_stage=None, last=None):
    hub = MessageHub.get_instance(request.node.name)
    if loss is not None:
        hub.update_scalar('train/loss', loss)
    if exit_stage is not None:
        hub.update_scalar('train/exit', exit_stage)
    if last is not None:
        hub.update_info('last_ckpt', last)
    optim_wrapper = SimpleNamespace(get_lr=lambda: dict(lr=[0.03, 0.03]))
    return SimpleNamespace(
        message_hub=hub, iter=41, epoch=2, optim_wrapper=optim_wrapper
    )


@pytest.mark.parametrize('loss', [float('nan'), float('inf'), -float('inf')])
def test_stops_and_tells_what_to_do(request, loss):
    run = runner(request, loss, exit_stage=3, last='out/epoch_2.pth')
    about = rf'{loss} at iteration 42 \(epoch 3, exit 3, .* 0.03\).*out/epoch_2.pth'
    with pytest.raises(TrainingStopped, match=about):
        InvalidLossHook().after_train_iter(run, 0)


def test_without_exit_and_checkpoint(request):
    with pytest.raises(TrainingStopped, match=r'learning rate 0.03.*no checkpoint was'):
        InvalidLossHook().after_train_iter(runner(request, float('nan')), 0)


@pytest.mark.parametrize('loss', [None, 0.0, 1e30])
def test_lets_finite_losses_pass(request, loss):
    InvalidLossHook().after_train_iter(runner(request, loss), 0)
