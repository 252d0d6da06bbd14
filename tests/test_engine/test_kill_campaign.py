"""Twenty kills at random moments, over five kinds of run: none leaves a trace."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.folder_run import write_config, write_images
from tests.processes import launch_training
from tests.test_engine.test_resume import assert_same

KILLS = 4  # of each kind
BY_ITERATION = {
    'default_hooks.checkpoint': dict(
        type='CheckpointHook', by_epoch=False, interval=5, max_keep_ckpts=2
    )
}
FREEZING = [
    dict(until=0.6),
    dict(exit_probs=(0, 1, 1, 1), entry_probs=(0, 1), fold_frozen=True),
]
ENDLESS = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=24, val_interval=24)
#: By the kind: ranks, whether the model is ours, settings.
KINDS = {
    'upstream': (1, False, {}),
    'schedule': (1, True, {'schedule': FREEZING}),
    'accumulated': (1, True, {'optim_wrapper.accumulative_counts': 3, **BY_ITERATION}),
    'iterations': (
        1,
        True,
        {
            'train_cfg': ENDLESS,
            'train_dataloader.sampler.type': 'InfiniteSampler',
            **BY_ITERATION,
        },
    ),
    'two ranks': (2, True, BY_ITERATION),
}


class Campaign:
    """Runs of one config, each in interpreters of its own."""

    def __init__(self, folder, ranks, accel, options):
        write_images(folder / 'images')
        options = dict(options)
        hooks = [dict(type='SleepHook', seconds=0.1)]
        if accel:
            schedule = options.pop('schedule', None)
            hooks.insert(0, dict(type='PartialBackpropHook', schedule=schedule))
        options = {'custom_imports.imports': ['mmaccel', 'tests.hooks'], **options}
        self.config = write_config(
            folder / 'run.py',
            folder / 'images',
            accel,
            epochs=4,
            **{'custom_hooks': hooks, **options},
        )
        self.folder = folder
        self.ranks = ranks

    def run(self, name, kill_after=None):
        """Whether a run ends by itself, and the seconds since it was built."""
        log = self.folder / f'{name}.txt'
        log.touch()
        before = log.stat().st_size
        job = launch_training(self.config, self.folder / name, log, self.ranks)
        built = None
        while job.poll() is None:
            if built is None and b'results in' in log.read_bytes()[before:]:
                built = time.monotonic()
            waited = 0 if built is None else time.monotonic() - built
            if kill_after is not None and waited > kill_after:
                kill_all(job)
                return False, kill_after
            time.sleep(0.01)
        assert job.returncode == 0, log.read_text()[-3000:]
        return True, time.monotonic() - built

    def end(self, name):
        """What the run has written last."""
        pointer = self.folder / name / 'last_checkpoint'
        return torch.load(pointer.read_text().strip(), weights_only=True)


def kill_all(job):
    """Kill a process and all it has started, ranks in sessions of their own too."""
    parents = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError):  # it has ended
            fields = stat.read_text().rpartition(')')[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
    doomed = [job.pid]
    for pid in doomed:
        doomed += [child for child, parent in parents.items() if parent == pid]
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait()
    while any(Path(f'/proc/{pid}/exe').exists() for pid in doomed):
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('kind', KINDS)
def test_killed_at_random_moments(kind, tmp_path):
    """From the first log line to the last: between steps, in them, while saving."""
    campaign = Campaign(tmp_path, *KINDS[kind])
    _, seconds = campaign.run('unbroken')
    moments = random.Random(kind)
    number, kills, ended = 0, 0, False
    while kills < KILLS or not ended:
        # a run goes on to its end once it was killed often enough
        moment = moments.uniform(0, seconds) if kills < KILLS else None
        ended, after = campaign.run(f'killed {number}', moment)
        kills += not ended
        print(f'{kind}, run {number}: {"ended" if ended else "killed"} {after:.2f} s')
        if ended:
            for key in ('state_dict', 'optimizer', 'param_schedulers'):
                ends = [campaign.end(x)[key] for x in ('unbroken', f'killed {number}')]
                assert_same(*ends, key)
            number += 1
