"""Presets: each accelerated recipe has its siblings, and `-exact` is upstream's."""

import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from mmselfsup.registry import MODELS

from mmaccel.engine.config import load_config
from mmaccel.engine.config_reader import hooks
from mmaccel.engine.schedule import read_schedule
from mmaccel.models.plan import StepPlan
from tests.builders import multi_views, views
from tests.steps import sgd, step
from tests.test_configs.test_all import ROOT, shrink

SUFFIXES = ('exact', 'freeze', 'best')
PAPER = [
    path
    for folder, pattern in (('accel', '*.py'), ('small', 'accel-*_cifar10.py'))
    for path in sorted((ROOT / 'configs' / folder).glob(pattern))
    if not path.stem.endswith(SUFFIXES)
]
IDS = [path.stem for path in PAPER]


def sibling(path, suffix):
    return load_config(str(path.with_name(f'{path.stem}-{suffix}.py')))


@pytest.mark.parametrize('path', PAPER, ids=IDS)
def test_presets_differ_from_the_paper_in_schedule_and_windows_alone(path):
    paper = load_config(str(path))
    for suffix in SUFFIXES:
        cfg = sibling(path, suffix)
        assert cfg.baseline == paper.baseline
        assert cfg.model.crop_layer is None
        assert cfg.train_dataloader == paper.train_dataloader
        assert cfg.optim_wrapper == paper.optim_wrapper
        assert [h.type for h in cfg.custom_hooks] == [
            h.type for h in paper.custom_hooks
        ]
        (_, hook), *_ = hooks(cfg, 'PartialBackpropHook')
        stages = hook.get('schedule')
        probs = (
            [stage.exit_probs for stage in read_schedule(stages)]
            if stages
            else [hook['exit_probs']]
        )
        assert all(not any(p[:-1]) for p in probs), suffix


def share_weights(ours, theirs):
    """Upstream's model gets what ours has in the whole network and its last exit."""
    pairs = [(ours.backbone, theirs.backbone), (ours.neck.projectors[-1], theirs.neck)]
    if hasattr(ours, 'encoder_k'):
        mine, their = ours.encoder_k.module, theirs.encoder_k.module
        pairs += [(mine[0], their[0]), (mine[1].projectors[-1], their[1])]
        theirs.queue.copy_(ours.queues[-1].features)
    if hasattr(ours.head, 'losses'):
        pairs.append((ours.head.losses[-1], theirs.head.loss))
    for mine, their in pairs:
        their.load_state_dict(mine.state_dict())


@pytest.mark.parametrize('path', PAPER, ids=IDS)
def test_exact_gives_the_losses_of_its_baseline(path):
    init_default_scope('mmselfsup')
    cfg = sibling(path, 'exact')
    configs = [cfg.model, load_config(cfg.baseline).model]
    for config in configs:
        shrink(config)
        config.data_preprocessor = None
    torch.manual_seed(0)
    ours, theirs = (MODELS.build(copy.deepcopy(config)).train() for config in configs)
    ours.init_weights()
    ours, theirs = ours.double(), theirs.double()  # rounding apart
    share_weights(ours, theirs)
    ours.plan = StepPlan(exit_stage=4)
    optimizers = [sgd(ours), sgd(theirs)]
    for optimizer in optimizers:  # larger steps of so small a model amplify rounding
        optimizer.param_groups[0]['lr'] = 0.005
    crops = configs[0].head.get('loss', {}).get('num_crops')
    for i in range(3):
        images = multi_views(crops, seed=i) if crops else views(seed=i)
        images = [view.double() for view in images]
        losses = [
            step(model, optimizer, images, seed=i)
            for model, optimizer in zip([ours, theirs], optimizers)
        ]
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4, check_dtype=False)
