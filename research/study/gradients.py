"""Where cheap steps point: their gradients beside that of the whole step.

A step is cheap if it computes less than the whole network, whole maps and whole views
with the last loss. Per stage of the backbone, its gradient of the mean loss over a
batch is compared with the whole step's, by the cosine of the angle between them: with
the whole step's gradient of the same images and views, and with those of other images.

Only the direction of one step is seen. What a step changes for later ones is not: a
queue that truncated keys leave older, or images that are never seen at full size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.runner import set_random_seed
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from mmaccel.analysis.trained import trained_model, training_set
from mmaccel.errors import ConfigError
from mmaccel.models.algorithms import AccelAlgorithm
from mmaccel.models.layers import HardPairCropLayer
from mmaccel.models.plan import StepPlan
from mmaccel.models.utils.backbones import stage_names

WHOLE = 'whole network'
OTHER_VIEWS = 'whole network, other views'

Views = Sequence[Tensor]  # of a batch, each (N, 3, H, W)
Gradient = list[Tensor | None]  # one vector per stage, None where there is none


@dataclass(frozen=True)
class Step:
    """A way to take a training step.

    Args:
        plan (StepPlan): What it computes.
        settings (Mapping): Attributes of the model that are others meanwhile.
    """

    plan: StepPlan
    settings: Mapping[str, Any] = field(default_factory=dict)


def whole_step(model: Any) -> Step:
    """Upstream's step: the last loss, no windows, views as they come."""
    return Step(StepPlan(model.num_exits, loss_on='exit', windows=False))


def cheap_steps(model: Any) -> dict[str, Step]:
    """The steps that are compared with the whole one, by name.

    An entry is the first stage that gets a gradient. Windows are the paper's (after
    stages 1 and 2, 0.75 of the side), with the last loss. Truncated keys are missing:
    within one step they change nothing.
    """
    whole = whole_step(model).plan
    stages = range(1, model.num_exits + 1)
    steps = {f'exit {e}': Step(replace(whole, exit_stage=e)) for e in stages}
    for e in stages[1:]:
        plan = replace(whole, exit_stage=e, loss_on='cumulative')
        steps[f'exit {e}, summed'] = Step(plan)
    for e in stages[1:]:
        steps[f'entry {e}'] = Step(replace(whole, first_stage=e))
    for name, scale in (('2/3', 2 / 3), ('1/2', 1 / 2)):
        steps[f'views of {name}'] = Step(replace(whole, view_scale=scale))
    if hasattr(model, 'two_sizes'):
        plan = replace(whole, view_scale=(2 / 3, 1.0))
        steps['one view of 2/3'] = Step(plan)  # MoCo's query
    for prefer, number in (('hard', 2), ('random', 1), ('easy', 2)):
        layer = HardPairCropLayer(prefer=prefer, num_candidates=number)
        steps[f'windows, {prefer}'] = Step(
            replace(whole, windows=True), dict(crop_layer=layer)
        )
    if 'queue' in getattr(model, 'negatives', ()):
        batch = dict(negatives=('batch',) * model.num_exits)
        for e in stages:
            plan = replace(whole, exit_stage=e)
            steps[f'exit {e}, batch negatives'] = Step(plan, batch)
    return steps


def gradient(model: Any, views: Views, step: Step, seed: int = 0) -> Gradient:
    """Gradient of one step's loss with respect to each stage of the backbone.

    The stem belongs to stage 1. Batch norms use the batch's statistics.

    Args:
        model (AccelAlgorithm): An algorithm; not changed: the step is a copy's.
        views (Sequence[Tensor]): Of a batch, after the data preprocessor.
        step (Step): How to take it.
        seed (int): Of what the step draws: windows, and the order of shuffle-BN.

    Returns:
        list[Tensor | None]: A vector per stage; None if nothing in it has a gradient.

    Note:
        Seeds torch's global generator.
    """
    model = deepcopy(model)
    model.train()
    model.plan = replace(step.plan, window_seed=(seed, 0, 0))
    for name, value in step.settings.items():
        setattr(model, name, value)
    torch.manual_seed(seed)
    loss, _ = model.parse_losses(model.loss(list(views), []))
    stages = [
        [p for p in parameters if p.requires_grad]
        for parameters in stage_parameters(model.backbone)
    ]
    parameters = [p for stage in stages for p in stage]
    found = iter(torch.autograd.grad(loss, parameters, allow_unused=True))
    return [_joined(stage, [next(found) for _ in stage]) for stage in stages]


def stage_parameters(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of each stage of a backbone, those of the stem with the first."""
    later = [
        list(getattr(backbone, name).parameters()) for name in stage_names(backbone)[1:]
    ]
    known = {id(p) for stage in later for p in stage}
    return [[p for p in backbone.parameters() if id(p) not in known], *later]


def _joined(parameters: list, gradients: list[Tensor | None]) -> Tensor | None:
    if all(g is None for g in gradients):
        return None
    zeros = (torch.zeros_like(p) for p in parameters)
    return torch.cat(
        [(z if g is None else g).flatten() for z, g in zip(zeros, gradients)]
    )


def compare(
    model: Any, batches: Sequence[tuple[Views, Views]]
) -> dict[str, dict[str, list[float | None]]]:
    """Compare cheap steps' gradients with the whole step's, stage by stage.

    Args:
        model (AccelAlgorithm): An algorithm as it is in the middle of a training.
        batches (Sequence[tuple]): Two or more; each the views of some images, after the
            data preprocessor, and further views of the same images.

    Returns:
        dict[str, dict]: For each step's name, one number per stage, None without a
        gradient: ``same_images``, mean cosine with the whole step on the same views,
        and ``same_images_std`` over the batches; ``other_images``, mean cosine with the
        whole step on the other batches; ``norm_ratio``, mean length over the whole
        step's. :data:`WHOLE` is the whole step itself: its ``other_images`` are the
        most that noise lets one expect of any step. :data:`OTHER_VIEWS` is the whole
        step on the further views.
    """
    step = whole_step(model)
    whole = [gradient(model, views, step, i) for i, (views, _) in enumerate(batches)]
    others = [gradient(model, views, step, i) for i, (_, views) in enumerate(batches)]
    result = {WHOLE: _figures(whole, whole), OTHER_VIEWS: _figures(others, whole)}
    for name, cheap in cheap_steps(model).items():
        found = whole
        if cheap != step:
            found = [
                gradient(model, views, cheap, i) for i, (views, _) in enumerate(batches)
            ]
        result[name] = _figures(found, whole)
    return result


def _figures(
    found: list[Gradient], whole: list[Gradient]
) -> dict[str, list[float | None]]:
    figures: dict[str, list[float | None]] = {
        name: []
        for name in ('same_images', 'same_images_std', 'other_images', 'norm_ratio')
    }
    for stage in range(len(whole[0])):
        ours = [x for g in found if (x := g[stage]) is not None]
        theirs = [x for g in whole if (x := g[stage]) is not None]
        if not ours:
            for values in figures.values():
                values.append(None)
            continue
        cosines = [[_cosine(a, b) for b in theirs] for a in ours]
        count = range(len(ours))
        same = [cosines[i][i] for i in count]
        other = [cosines[i][j] for i in count for j in count if i != j]
        norms = [(a.norm() / b.norm()).item() for a, b in zip(ours, theirs)]
        figures['same_images'].append(round(mean(same), 4))
        figures['same_images_std'].append(round(stdev(same), 4))
        figures['other_images'].append(round(mean(other), 4))
        figures['norm_ratio'].append(round(mean(norms), 4))
    return figures


def _cosine(a: Tensor, b: Tensor) -> float:
    return cosine_similarity(a.double(), b.double(), dim=0).item()


def compare_checkpoints(
    cfg: Config,
    checkpoints: Mapping[str, str],
    batches: int = 8,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """:func:`compare` at several points of one training, on the same views.

    Args:
        cfg (Config): The config that it was trained by, of an accelerated model.
        checkpoints (Mapping): Label to file, each with all weights of the model.
        batches (int): How many, at least 2. Defaults to 8.
        batch_size (int, optional): Images N of each, all different. Defaults to the
            config's.
        seed (int): Of images, views and what steps draw. Defaults to 0.

    Returns:
        dict: ``batches``, ``batch_size``, ``seed``, ``image_size`` (of the first view,
        pixels), and ``checkpoints``: label to what :func:`compare` returns.

    Raises:
        ConfigError: If model, checkpoints or images do not fit.
    """
    number = batch_size or cfg.train_dataloader.batch_size
    models = {label: trained_model(cfg, path) for label, path in checkpoints.items()}
    model = next(iter(models.values()))
    if not isinstance(model, AccelAlgorithm):
        raise ConfigError(
            f'{cfg.filename} trains a {type(model).__name__}, which has no exits; give '
            'the config and checkpoints of an accelerated model'
        )
    dataset = training_set(cfg)
    if batches * number > len(dataset):
        raise ConfigError(
            f'{batches} batches of {number} images are more than the {len(dataset)} '
            'there are; lower --batches or --batch-size'
        )
    set_random_seed(seed)
    order = torch.randperm(len(dataset))[: batches * number].split(number)
    views = [
        (_views(model, dataset, chosen), _views(model, dataset, chosen))
        for chosen in order
    ]
    return dict(
        batches=batches,
        batch_size=number,
        seed=seed,
        image_size=views[0][0][0].shape[-1],
        checkpoints={label: compare(m, views) for label, m in models.items()},
    )


def _views(model: Any, dataset: Any, chosen: Tensor) -> Views:
    batch = default_collate([dataset[i] for i in chosen.tolist()])
    return model.data_preprocessor(batch, True)[0]
