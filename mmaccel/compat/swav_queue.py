"""Upstream's ``SwAVHook`` needs a GPU and keeps the queue beside the checkpoints.

It allocates with ``.cuda()``. It writes ``queue*.pth`` into the work directory, so a
resumed run may get a queue of another iteration than its weights, and a new run in the
same directory starts with the old run's queue.
"""


def is_needed() -> bool:
    """Tell whether the registered ``SwAVHook`` leaves its queue out of checkpoints."""
    from mmengine.hooks import Hook
    from mmselfsup.engine.hooks import SwAVHook

    return SwAVHook.before_save_checkpoint is Hook.before_save_checkpoint


def apply() -> None:
    """Register our hook under upstream's name."""
    from mmselfsup.engine import hooks
    from mmselfsup.registry import HOOKS

    from mmaccel.compat._patch import replace_everywhere
    from mmaccel.compat._swav_hook import SwAVHook

    replace_everywhere('SwAVHook', hooks.SwAVHook, SwAVHook)
    HOOKS.register_module(module=SwAVHook, force=True)
