"""Methods on two gloo processes against one with the whole batch."""

import pytest
import torch
from mmengine.dist import all_reduce

from mmaccel.models.plan import StepPlan
from tests.builders import (
    build,
    moco_config,
    multi_views,
    simclr_config,
    swav_config,
    views,
)
from tests.distributed import run_ranks

HALF = 4  # images a rank


def double(inputs):
    return [view.double() for view in inputs]


def simclr():
    return build(simclr_config()), double(views(batch=2 * HALF))


def simclr_scaled():
    model = build(simclr_config(scale_gradient=True))
    return model, double(views(batch=2 * HALF))


def simclr_multi_crop():
    return build(simclr_config()), double(multi_views([2, 3], batch=2 * HALF))


def moco_multi_crop():
    config = moco_config(negatives=('queue', 'queue', 'batch', 'queue'))
    return build(config), double(multi_views([2, 3], batch=2 * HALF))


def swav():
    return build(swav_config([2, 4])), double(multi_views([2, 4], batch=2 * HALF))


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


#: Each with the gradient's scale, of several processes to one.
METHODS = [
    (simclr, 0.5),
    (simclr_scaled, 1.0),
    (simclr_multi_crop, 0.5),
    (moco_multi_crop, 1.0),
    (swav, 1.0),
]


def every_method(rank):
    return [losses_and_gradients(make, rank) for make, _ in METHODS]


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    return run_ranks(every_method, 2, tmp_path_factory.mktemp('ranks'))


@pytest.mark.parametrize(
    ('index', 'make', 'scale'),
    [(i, *method) for i, method in enumerate(METHODS)],
    ids=[make.__name__ for make, _ in METHODS],
)
def test_gradient_relates_to_one_process_as_documented(results, index, make, scale):
    loss, gradients = losses_and_gradients(make)
    for rank in results:
        rank_loss, rank_gradients = rank[index]
        torch.testing.assert_close(rank_loss, loss)
        assert set(rank_gradients) == set(gradients)
        for name, gradient in gradients.items():
            torch.testing.assert_close(rank_gradients[name], scale * gradient)
