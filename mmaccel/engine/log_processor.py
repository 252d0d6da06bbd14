"""The line a user sees while training."""

import datetime
import re
from typing import Any

import numpy as np
from mmengine.dist import get_world_size
from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor, Runner

from mmaccel.hardware import process_peak_mb

from .epoch_sampler import images_per_rank

_NUM_STAGES = 4  # of a ResNet
_EXIT_KEY = re.compile(r'(.+)_exit(\d+)')
#: Parts of the line before the losses.
_PARTS = {
    'lr': 'lr {:.2e}',
    'eta': 'eta {}',
    'images_per_second': '{:.0f} img/s',
    'data_wait': 'data wait {:.0%}',
    'memory': 'mem {:.0f} MB',
    'exit': 'exit {:.0f}',
}
# and of one exit, after the similarities
_MEASURED = {
    'age_gap': 'age {:+.2f}',
    'feat_std': 'std {:.3g}',
    'eff_rank': 'rank {:.3g}',
}
# and what is in the header, in another form or not in the line
_SHOWN = {'epoch', 'iter', 'time', 'data_time', 'train_seconds', 'loss'}


@LOG_PROCESSORS.register_module()
class AccelLogProcessor(LogProcessor):
    """Log processor whose training line answers the usual questions.

    Remaining time (ETA), images per second over all ranks, the share of a step spent
    waiting for data, peak memory, the exit drawn, each exit's loss beside its chance
    level ``ln(K + 1)``, and at the exit measured last the similarity of positive and
    negative pairs, how much of it is the age of a queue's keys, spread and effective
    rank of the features. An exit that was not drawn yet shows as ``-``. Models without
    exits show their ``loss``.

    Visualizer backends get every scalar under its own key, with ``images_per_second``,
    ``data_wait`` (0 to 1), ``memory`` (MB) and ``train_seconds`` added. Losses and
    times are means of their last ``window_size`` values. A scalar of one exit is
    written only if it has a new value since the previous line.

    Args:
        window_size (int): Values averaged; with the logger's interval, a line covers
            all values since the previous one. Defaults to 50.
        max_history (int): Values kept of each scalar. mmengine keeps a million, copies
            them at every update and saves them in every checkpoint. Not applied where
            ``custom_cfg`` has an 'epoch' or 'global' window. Defaults to 10000.
        **kwargs: As for :class:`mmengine.runner.LogProcessor`.
    """

    def __init__(
        self, window_size: int = 50, max_history: int = 10000, **kwargs: Any
    ) -> None:
        super().__init__(window_size=window_size, **kwargs)
        long_windows = any(
            isinstance(cfg.get('window_size'), str) for cfg in self.custom_cfg
        )
        self._max_history = None if long_windows else max(max_history, window_size)
        self._seen: dict[str, np.ndarray] = {}

    def get_log_after_iter(
        self, runner: Runner, batch_idx: int, mode: str
    ) -> tuple[dict, str]:
        """Scalars for the backends, and the line; validation and test as upstream."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        if mode != 'train':
            return tag, line
        header = line.partition(']  ')[0] + ']'
        prefix = 'train/' if self.log_with_hierarchy else ''
        values = {self._remove_prefix(k, prefix): v for k, v in tag.items()}
        extra = self._throughput(runner, values)
        values.update(extra)
        tag.update({prefix + name: value for name, value in extra.items()})

        fresh = self._fresh_exit_keys(runner)
        for name in values:
            if _EXIT_KEY.fullmatch(name) and name not in fresh:
                tag.pop(prefix + name)  # no new value: no new point on the curve
        self._trim(runner)

        eta = runner.message_hub.get_info('eta')
        if eta is not None:
            values['eta'] = str(datetime.timedelta(seconds=int(eta)))
        return tag, '  '.join([header, *self._format(values, fresh)])

    def _throughput(self, runner: Runner, values: dict) -> dict:
        """Images per second over all ranks, data wait, memory, training time."""
        extra = {}
        if 'time' in values:
            batch_size = images_per_rank(runner.train_dataloader)
            if batch_size is not None:
                rate = batch_size * get_world_size() / values['time']
                extra['images_per_second'] = rate
            if 'data_time' in values:
                extra['data_wait'] = values['data_time'] / values['time']
        if 'memory' not in values:  # mmengine fills it on a GPU
            memory = process_peak_mb()
            if memory is not None:
                extra['memory'] = int(memory)
        seconds = runner.message_hub.get_info('train_seconds')
        if seconds is not None:
            extra['train_seconds'] = seconds
        return extra

    def _fresh_exit_keys(self, runner: Runner) -> set:
        """Names of the exits' scalars that were updated since the last call."""
        fresh = set()
        for key, buffer in runner.message_hub.log_scalars.items():
            name = self._remove_prefix(key, 'train/')
            if _EXIT_KEY.fullmatch(name):
                history = buffer.data[0]
                # an update makes a new array, and only an update does
                if self._seen.get(name) is not history:
                    fresh.add(name)
                self._seen[name] = history
        return fresh

    def forget_resumed(self, runner: Runner) -> None:
        """Take what a checkpoint brought for old: it is on the curves already."""
        self._fresh_exit_keys(runner)

    def _trim(self, runner: Runner) -> None:
        if self._max_history is not None:
            for buffer in runner.message_hub.log_scalars.values():
                buffer.max_length = self._max_history

    def _format(self, values: dict, fresh: set) -> list:
        """The parts of the line after its header."""
        parts = [f.format(values[k]) for k, f in _PARTS.items() if k in values]
        parts.append(self._format_loss(values))
        parts.append(self._format_measured(values, fresh))
        parts += [
            f'{name} {value:.{self.num_digits}g}'
            for name, value in values.items()
            if isinstance(value, (int, float))
            and name not in {*_PARTS, *_SHOWN}
            and not _EXIT_KEY.fullmatch(name)
        ]
        return [part for part in parts if part]

    @staticmethod
    def _format_loss(values: dict) -> str:
        """E.g. ``loss 6.12 (exits 5.90 6.12 - 7.01, chance 8.32)``.

        Where exits have different chance levels, there is one per exit.
        """
        found: dict[str, dict[int, str]] = {'loss': {}, 'chance': {}}
        for name, match in _exit_keys(values):
            if match[1] in found:
                found[match[1]][int(match[2])] = f'{values[name]:.2f}'
        notes = []
        exits, chances = found['loss'], found['chance']
        stages = range(1, max((_NUM_STAGES, *exits, *chances)) + 1)
        if exits:
            notes.append('exits ' + ' '.join(exits.get(e, '-') for e in stages))
        if len(set(chances.values())) == 1:
            notes.append(f'chance {next(iter(chances.values()))}')
        elif chances:
            notes.append('chance ' + ' '.join(chances.get(e, '-') for e in stages))
        loss = f'loss {values["loss"]:.2f}' if 'loss' in values else ''
        return f'{loss} ({", ".join(notes)})' if notes else loss

    @staticmethod
    def _format_measured(values: dict, fresh: set) -> str:
        """E.g. ``at exit 3: sim +0.71/-0.02 age +0.05 std 0.93 rank 41.2``.

        Of the exits measured since the line before, the deepest; if none was, the
        deepest of all.
        """
        measured = {
            int(match[2])
            for name, match in _exit_keys(values)
            if match[1] not in ('loss', 'chance')
            and (name in fresh or not _any_measured(fresh))
        }
        if not measured:
            return ''
        e = max(measured)
        parts = []
        sims = [values.get(f'{sign}_sim_exit{e}') for sign in ('pos', 'neg')]
        if None not in sims:
            parts.append(f'sim {sims[0]:+.2f}/{sims[1]:+.2f}')
        for name, part in _MEASURED.items():
            value = values.get(f'{name}_exit{e}')
            if value is not None:
                parts.append(part.format(value))
        return f'at exit {e}: ' + ' '.join(parts)


def _exit_keys(values: dict) -> list:
    matches = [(name, _EXIT_KEY.fullmatch(name)) for name in values]
    return [(name, match) for name, match in matches if match]


def _any_measured(fresh: set) -> bool:
    return any(not name.startswith('loss') for name in fresh)
