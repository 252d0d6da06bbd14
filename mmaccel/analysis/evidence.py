"""What is known of the accuracy of a way to train, and where it is from."""

from typing import NamedTuple

from mmengine.config import Config

from mmaccel.engine.config_reader import hooks
from mmaccel.engine.schedule import read_schedule
from mmaccel.evaluation.recipe import Recipe, read_recipe

#: What is done to a method: the paper's own, and two schedules of the study.
PUBLISHED = 'PB + HP'
FREEZING, GROWING = 'freezing', 'growing views, freezing'
_BATCH = 'negatives=batch'
GROWING_BATCH = f'{_BATCH}, {GROWING}'


class StudyResult(NamedTuple):
    """A row of ``research/report.md``: against its baseline over 16 epochs.

    ``knn`` in points, ``time`` relative; ``epochs`` it was trained for.
    """

    row: str
    knn: str
    time: str
    epochs: int = 16


#: By method and by what is done to it.
STUDY = {
    ('SimCLR', PUBLISHED): StudyResult('Accel-SimCLR, the paper', '−12.2', '0.62'),
    ('SimCLR', FREEZING): StudyResult('SimCLR, freezing', '+0.0', '0.81'),
    ('SimCLR', GROWING): StudyResult(
        'SimCLR, views from 1/2, freezing, 22 epochs', '−0.7', '0.69', 22
    ),
    ('MoCo v2', PUBLISHED): StudyResult('Accel-MoCo v2, the paper', '−24.3', '0.77'),
    ('MoCo v2', FREEZING): StudyResult('MoCo v2, freezing', '−0.4', '0.96'),
    ('MoCo v2', GROWING_BATCH): StudyResult(
        'MoCo v2, views from 1/2, freezing, negatives of the batch, 18 epochs',
        '−0.8',
        '0.64',
        18,
    ),
    ('MoCo v2', GROWING): StudyResult(
        'MoCo v2, views from 1/2, freezing, 18 epochs', '−0.6', '0.72', 18
    ),
    ('MoCo', FREEZING): StudyResult('MoCo v1, freezing', '−0.1', '0.92'),
    ('SwAV', FREEZING): StudyResult('SwAV, freezing', '−0.2', '0.84'),
    ('MoCo', PUBLISHED): StudyResult('Accel-MoCo v1, the paper', '−23.7', '0.82'),
    ('SwAV', PUBLISHED): StudyResult('Accel-SwAV, the paper', '−21.8', '0.67'),
}
#: The paper's Table 1: epochs, then top-1 accuracy and days of baseline and method.
PAPER = {
    'SimCLR': (200, '61.7 ± 0.2', '4.3', '62.9 ± 0.2', '2.8'),
    'MoCo': (200, '60.6 ± 0.2', '4.3', '60.5 ± 0.1', '2.8'),
    'MoCo v2': (200, '67.5 ± 0.1', '4.3', '67.3 ± 0.1', '2.8'),
    'SwAV 2×224': (400, '70.1 ± 0.1', '8.1', '70.7 ± 0.1', '5.3'),
}


def evidence_of(cfg: Config) -> str:
    """One sentence on the accuracy that a config's way to train keeps.

    Args:
        cfg (Config): A pretraining config.
    """
    recipe = read_recipe(cfg)
    if recipe is None:
        return 'nothing was measured'
    if not recipe.method.startswith('Accel-'):
        return 'the reference'
    method = recipe.method[len('Accel-') :]
    done = _what_is_done(cfg, recipe)
    if done == 'no exits, no windows':
        return 'equal to the baseline up to rounding (tests of equality)'
    quoted, found = PAPER.get(method), STUDY.get((method.partition(' 2×')[0], done))
    if recipe.dataset == 'ImageNet' and done == PUBLISHED and quoted:
        epochs, base, base_days, accel, days = quoted
        return (
            f"the paper's Table 1, {epochs} epochs of ImageNet, as they report: top-1 "
            f'{accel} against {base}, in {days} days against {base_days}'
        )
    if found is None:
        return 'nothing was measured of it'
    return (
        f'{found.knn} points of kNN in {found.time} of the time (research/report.md: '
        f"CIFAR-10, {found.epochs} epochs against the baseline's 16)"
    )


def _what_is_done(cfg: Config, recipe: Recipe) -> str:
    """The recipe's variant, or the study's name of a schedule."""
    parts = recipe.variant.split(' + ')
    batch = parts[0] == _BATCH
    if not all(part.startswith('until ') for part in parts[batch:]):
        return recipe.variant
    hook = next(hook for _, hook in hooks(cfg, 'PartialBackpropHook'))
    schedule = read_schedule(hook['schedule'])
    scales = [stage.view_scale for stage in schedule]
    exits = any(any(stage.exit_probs[:-1]) for stage in schedule)
    freezes = any(any(stage.entry_probs[1:]) for stage in schedule)
    folds = any(stage.fold_frozen for stage in schedule)
    two_sizes = any(isinstance(scale, tuple) for scale in scales)
    if exits or folds or two_sizes or not freezes:
        return recipe.variant
    done = FREEZING if set(scales) == {1.0} else GROWING
    return f'{_BATCH}, {done}' if batch else done
