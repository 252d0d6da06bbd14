"""SimCLR and SwAV on two gloo processes against one with the whole batch."""

import pytest
import torch
from mmengine.dist import all_reduce

from mmaccel.models.plan import StepPlan
from tests.builders import build, multi_views, simclr_config, swav_config, views
from tests.distributed import run_ranks

HALF = 4  # images a rank


def simclr():
    inputs = [view.double() for view in views(batch=2 * HALF)]
    return build(simclr_config()), inputs


def swav():
    inputs = [view.double() for view in multi_views([2, 4], batch=2 * HALF)]
    return build(swav_config([2, 4])), inputs


def losses_and_gradients(make, rank=None):
    """Mean loss and gradient over ranks; one process has the whole batch."""
    torch.manual_seed(0)
    model, inputs = make()
    model.double().eval()  # batch norms do not mix images
    if rank is not None:
        inputs = [view[rank * HALF : (rank + 1) * HALF] for view in inputs]
    model.plan = StepPlan(exit_stage=3)
    loss = model.parse_losses(model.loss(inputs, []))[0]
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    loss = loss.detach()
    if rank is not None:
        for tensor in (loss, *gradients.values()):
            all_reduce(tensor, op='mean')
    return loss, gradients


def both(rank):
    return losses_and_gradients(simclr, rank), losses_and_gradients(swav, rank)


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    return run_ranks(both, 2, tmp_path_factory.mktemp('ranks'))


@pytest.mark.parametrize(
    ('index', 'make', 'scale'),
    [(0, simclr, 0.5), (1, swav, 1.0)],
    ids=['simclr', 'swav'],
)
def test_gradient_relates_to_one_process_as_documented(results, index, make, scale):
    loss, gradients = losses_and_gradients(make)
    for rank in results:
        rank_loss, rank_gradients = rank[index]
        torch.testing.assert_close(rank_loss, loss)
        assert set(rank_gradients) == set(gradients)
        for name, gradient in gradients.items():
            torch.testing.assert_close(rank_gradients[name], scale * gradient)
