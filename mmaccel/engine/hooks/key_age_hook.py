"""Warn when MoCo tells keys apart by their age."""

from collections import defaultdict

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.models.unwrapped import unwrapped


@HOOKS.register_module()
class KeyAgeHook(Hook):
    """Warn when similarity changes more with the age of keys than with their image.

    While the key encoder moves, the keys of a queue differ by their age, and the
    positive is always the newest. A model can lower its loss by learning that. Each
    exit is told of once in a run, at the end of an epoch.

    Args:
        least (float): Smallest difference of similarity by age that is told of; where
            features have collapsed both differences are small. Defaults to 0.05.
        begin (int): First epochs that are not checked: the queue starts with random
            vectors. Defaults to 1.

    Note:
        Needs the ``age_gap_exit{i}`` that ``AccelMoCo`` reports where its negatives are
        queued.
    """

    # after the hook that writes the measures to the message hub
    priority = 'LOW'

    def __init__(self, least: float = 0.05, begin: int = 1) -> None:
        self.least = least
        self.begin = begin
        self._measured: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._told: set[int] = set()

    def before_train_epoch(self, runner: Runner) -> None:
        """Forget the last epoch."""
        self._measured.clear()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: object = None,
        outputs: dict | None = None,
    ) -> None:
        """Note what was measured, which the message hub has as numbers."""

        def value(name: str) -> float:
            return float(runner.message_hub.get_scalar(f'train/{name}').current())

        for key in outputs or ():
            if key.startswith('age_gap_exit'):
                e = int(key[len('age_gap_exit') :])
                content = value(f'pos_sim_exit{e}') - value(f'neg_sim_exit{e}')
                self._measured[e].append((value(key), content))

    def after_train_epoch(self, runner: Runner) -> None:
        """Compare the epoch's means."""
        if runner.epoch < self.begin:
            return
        for e, measured in sorted(self._measured.items()):
            age, content = (sum(v) / len(v) for v in zip(*measured))
            if e in self._told or not abs(age) > max(content, self.least):
                continue
            self._told.add(e)
            negatives = list(unwrapped(runner.model).negatives)
            for told in self._told:
                negatives[told - 1] = 'batch'
            runner.logger.warning(
                f'Exit {e} tells keys apart by their age more than by their image: in '
                f'epoch {runner.epoch + 1} similarity to other images differs by '
                f'{abs(age):.2f} between the keys of a step and the oldest of the '
                f'queue, and by {content:.2f} between positives and negatives; '
                f"negatives='batch' for this exit takes keys of one age: "
                f'model.negatives={negatives}'
            )
