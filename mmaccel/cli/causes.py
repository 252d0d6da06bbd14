"""Why a training ended that was going well, as far as an error's text tells."""

import re

_RESUME = 'run the same command with --resume to go on'
_WORKER = (
    'a loader worker was killed, mostly for want of memory; lower '
    f'train_dataloader.num_workers or prefetch_factor, and {_RESUME}'
)
#: By a pattern of the error's text: the cause and the remedy.
_CAUSES = {
    r'bus error|insufficient shared memory|unable to (open|allocate|mmap|resize|write)'
    r'.*shm|shared memory object': 'shared memory (/dev/shm) is too small for the '
    'loader workers; give a container more, such as docker run --shm-size=8g, or set '
    f'train_dataloader.num_workers=0, and {_RESUME}',
    r'DataLoader worker.*(killed by signal|exited unexpectedly)': _WORKER,
    r'CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED': 'the GPU has too little memory '
    'for the step; lower train_dataloader.batch_size (mmaccel batch-size finds one '
    'that fits) or use --amp bf16',
    r'connection (was )?(closed|reset|refused)|broken pipe|socketPoll|'
    r'ncclRemoteError|ncclSystemError|timed out waiting|heartbeat|'
    r'collective operation timeout|remote process exited|Gloo connectFullMesh': (
        'another process of the run has ended, or the network between them has; its '
        f'own message, above or in its log, says why. Once that is mended, {_RESUME}'
    ),
    r'no space left on device|disk quota exceeded': 'the disk is full; free some '
    f'space and {_RESUME}',
}


def cause_of(error: BaseException) -> str | None:
    """The cause and its remedy, None for what is not known.

    Args:
        error (BaseException): What ended a training. Its causes are asked as well.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (ConnectionError, EOFError)) and _while_loading(seen):
            return _WORKER
        text = str(seen)
        for pattern, sentence in _CAUSES.items():
            if re.search(pattern, text, re.IGNORECASE):
                return sentence
        seen = seen.__cause__ or seen.__context__
    return None


def _while_loading(error: BaseException) -> bool:
    """Whether an error comes from taking a batch from a loader worker."""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get('__name__', '')
        if name == 'torch.utils.data.dataloader':
            return True
        trace = trace.tb_next
    return False
