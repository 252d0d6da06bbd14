"""Several processes: their ranks, and how to train with them without a GPU."""

import os
from typing import Any
from unittest import mock

import torch
import torch.multiprocessing as mp
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from mmaccel.errors import ConfigError


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` for CPU tensors.

    mmengine passes the index of a GPU on, and torch's ``SyncBatchNorm``, which configs
    and upstream's necks use by default, computes on GPUs only.

    Args:
        module (nn.Module): The model.
        **kwargs: As upstream, ``device_ids`` excepted.

    Note:
        Replaces every ``SyncBatchNorm`` of the model by a plain batch norm, whose
        statistics are each process's own.
    """

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        kwargs['device_ids'] = None
        super().__init__(module=revert_sync_batchnorm(module), **kwargs)


def init_process_group(launcher: str, env_cfg: dict) -> None:
    """Join the processes of a launcher where mmengine cannot: without a GPU.

    mmengine selects a GPU whatever the backend. With one, or with no launcher, this
    does nothing, and the runner does it.

    Args:
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        env_cfg (dict): The config's ``env_cfg``.
    """
    if launcher == 'none' or get_device() != 'cpu' or is_distributed():
        return
    if mp.get_start_method(allow_none=True) is None:  # or mmengine takes 'spawn'
        mp.set_start_method(env_cfg.get('mp_cfg', {}).get('mp_start_method', 'fork'))
    with mock.patch.object(torch.cuda, 'set_device', lambda device: None):
        init_dist(launcher, **env_cfg.get('dist_cfg', {}))


def world_size(launcher: str) -> int:
    """Number of processes a launcher started, before they are joined.

    Raises:
        ConfigError: If the launcher did not start this one.
    """
    if launcher == 'none':
        return 1
    variable = dict(
        pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE'
    )[launcher]
    if variable not in os.environ:
        raise ConfigError(
            f'--launcher {launcher} is for processes that it started itself; use '
            'tools/dist_train.sh, tools/slurm_train.sh or mpirun, or leave it out'
        )
    return int(os.environ[variable])


def local_world_size(launcher: str) -> int:
    """Number of those on this machine."""
    names = dict(
        pytorch='LOCAL_WORLD_SIZE',
        slurm='SLURM_NTASKS_PER_NODE',
        mpi='OMPI_COMM_WORLD_LOCAL_SIZE',
    )
    return int(os.environ.get(names.get(launcher, ''), 1))
