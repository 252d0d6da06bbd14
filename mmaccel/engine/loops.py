"""The training loop that continues in the middle of an epoch."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmaccel.errors import ConfigError

from .epoch_sampler import epoch_sampler, images_per_rank
from .prefetch import on_device


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Upstream's epoch-based loop, which upstream always resumes at an epoch's start.

    A run resumed from an iteration's checkpoint continues with the next batch: the
    sampler skips what is done without reading it, and ``batch_idx`` continues, so that
    hooks which count batches are right. Resumed with another batch size or number of
    processes, it continues at the same fraction of the epoch.

    Args:
        runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals: As
            upstream.

    Raises:
        ConfigError: If the data loader has no batch.

    Attributes:
        iterations_run (int): Iterations done by this process.
        moved (bool): Whether it continues at another iteration than its checkpoint's.
            Accumulated gradients count from the new one.
    """

    _iter: int

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        self.iterations_run = 0
        self.moved = False
        self._done = 0  # batches of the current epoch
        if len(self.dataloader) == 0:
            size = images_per_rank(self.dataloader)
            raise ConfigError(
                f'{len(self.dataloader.dataset)} images over {runner.world_size} '
                f'process(es) do not fill one batch of {size}; '
                'lower train_dataloader.batch_size'
            )

    def run(self) -> nn.Module:
        """Start or continue training."""
        if self._iter > 0:
            self._done = self._resumed_position()
        return super().run()

    def run_epoch(self) -> None:
        """Run the remaining iterations of one epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for batch_idx, data_batch in self._remaining():
            self.run_iter(batch_idx, data_batch)
            self.iterations_run += 1
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _remaining(self) -> Iterable[tuple[int, Any]]:
        """Remaining batches of the epoch, with their numbers."""
        done, self._done = self._done, 0
        batches: Iterable[dict] = self.dataloader
        if done:
            sampler = epoch_sampler(self.dataloader)
            if sampler is not None:
                sampler.skip(done * (images_per_rank(self.dataloader) or 1))
            else:  # a foreign sampler: read and drop
                batches = islice(self.dataloader, done, None)
        if self.dataloader.pin_memory:  # as fast_views sets it where there is a GPU
            device = next(self.runner.model.parameters()).device
            batches = on_device(batches, device)
        return enumerate(batches, start=done)

    def _resumed_position(self) -> int:
        """Batches done of the epoch that the checkpoint was saved in."""
        hub = self.runner.message_hub
        now = len(self.dataloader)
        then = now
        if hub.get_info('max_epochs'):  # the run that saved the checkpoint
            then = hub.get_info('max_iters') // hub.get_info('max_epochs')
        done = self._iter - self._epoch * then
        if then != now:
            done = done * now // then
            self._iter = self._epoch * now + done
            self.moved = True
            self.runner.optim_wrapper.initialize_count_status(
                self.runner.model, self._iter, self._max_iters
            )
            print_log(
                f'An epoch has {now} iterations where the checkpoint had {then}: '
                f'continuing with iteration {self._iter}',
                logger='current',
                level=logging.WARNING,
            )
        if done:
            print_log(f'Skipping {done} of {now} iterations done', logger='current')
        return done
