"""Randomness of a training step as a function of seed and iteration."""

import torch
from mmengine.dist import broadcast, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmaccel.seeding import STEP, seed_host

from ..epoch_sampler import epoch_sampler


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seed every iteration with (seed, iteration, rank).

    Batch shuffling, dropout and the like then do not depend on what was drawn before,
    and a resumed run repeats them without any saved random state. The hook also passes
    the run's seed to the sampler: where the user gave none, a resumed run reads it from
    the checkpoint, after the data loader was built.

    Note:
        Seeds the global generators of Python, NumPy and torch, GPUs included, before
        each iteration. Broadcasts the seed of rank 0 once.
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Agree on a seed and give it to the data loader."""
        seed = torch.tensor(runner.seed)
        broadcast(seed, src=0)
        self._seed = int(seed)
        sampler = epoch_sampler(runner.train_dataloader)
        if sampler is not None:
            sampler.set_seed(self._seed)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None
    ) -> None:
        """Seed the step."""
        torch.manual_seed(seed_host(STEP, self._seed, runner.iter, get_rank()))
