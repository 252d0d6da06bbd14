"""Upstream's ``SwAVHook`` needs a GPU and keeps the queue beside the checkpoints.

It writes ``queue*.pth`` into the work directory, so a resumed run may get a queue of
another iteration than its weights, and a new run in the same directory starts with the
old run's queue. MMSelfSup's also allocates with ``.cuda()``.
"""

from mmaccel.host import Host, installed


def _defective() -> list[Host]:
    from mmengine.hooks import Hook

    return [
        host
        for host in installed()
        if host.module(host.swav_hook).SwAVHook.before_save_checkpoint
        is Hook.before_save_checkpoint
    ]


def is_needed() -> bool:
    """Tell whether a registered ``SwAVHook`` leaves its queue out of checkpoints."""
    return bool(_defective())


def apply() -> None:
    """Register our hook under upstream's name, in each host."""
    from mmaccel.compat._patch import replace_everywhere
    from mmaccel.compat._swav_hook import with_saved_queue

    for host in _defective():
        upstream = host.module(host.swav_hook).SwAVHook
        patched = with_saved_queue(upstream)
        replace_everywhere('SwAVHook', upstream, patched)
        host.module('registry').HOOKS.register_module(
            name='SwAVHook', module=patched, force=True
        )
