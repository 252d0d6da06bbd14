"""``mmselfsup::`` bases break the data loader's collate function.

Inheriting across packages marks every dict with ``_scope_``, and MMEngine passes all of
the dict except ``type`` on to the collate function, which does not know the argument.
"""

import functools
from collections.abc import Callable
from typing import Any

_KEYS = ('collate_fn', 'worker_init_fn')


def is_needed() -> bool:
    """Tell whether ``_scope_`` reaches the collate function of a built loader."""
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(
        dict(
            dataset=[0],
            sampler=[0],
            batch_size=1,
            collate_fn=dict(type='pseudo_collate', _scope_='mmengine'),
        )
    )
    return '_scope_' in getattr(loader.collate_fn, 'keywords', {})


def apply() -> None:
    """Take ``_scope_`` out before the loader is built."""
    from mmengine.runner import FlexibleRunner, Runner

    runners: tuple[Any, ...] = (Runner, FlexibleRunner)
    for runner in runners:
        runner.build_dataloader = staticmethod(_patched(runner.build_dataloader))


def _patched(upstream: Callable) -> Callable:
    @functools.wraps(upstream)
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(dataloader, dict):
            dataloader = dataloader.copy()  # keeps a ConfigDict one
            for key in _KEYS:
                if isinstance(dataloader.get(key), dict):
                    dataloader[key] = dataloader[key].copy()
                    dataloader[key].pop('_scope_', None)
        return upstream(dataloader, *args, **kwargs)

    return build_dataloader
