"""Patches for defects of the installed packages, one small guarded module each.

A patch module has ``is_needed()``, which tests the behaviour rather than version
numbers and is false once the patch is applied, and ``apply()``, which is called where
it is needed.
"""

import logging
from importlib import import_module

#: The defect behind each patch, in the order in which patches must be applied: what
#: the import of others needs comes first.
PATCHES = {
    'pkg_resources_check': 'mmengine needs pkg_resources, gone from setuptools 82',
    'mmcv_ops': 'mmcv-lite lacks mmcv._ext, which mmdet and mmseg import',
    'safe_checkpoints': 'torch >= 2.6 rejects the checkpoints of mmengine',
    'registry_locations': 'mmselfsup 1.0.0 registers from a module it lacks',
    'package_configs': 'mmengine reads mmaccel::config of listed packages only',
    'hue_overflow': 'mmcv.adjust_hue overflows for negative hue on numpy >= 2',
    'grey_jitter': 'ColorJitter and RandomGrayscale need three channels',
    'collate_scope': 'mmengine passes _scope_ on to collate functions',
    'swav_sinkhorn': 'SwAV balances prototypes within one process only',
    'swav_queue': 'SwAVHook needs CUDA and keeps its queue in side files',
}

_logger = logging.getLogger(__name__)
_report = dict.fromkeys(PATCHES, 'not tried')


def apply_patches() -> dict[str, str]:
    """Apply every patch that the installed packages need.

    Returns:
        ``'applied'`` or ``'not needed'``, by the patch's name, in order.

    Raises:
        Exception: Whatever stopped a patch; :func:`patch_report` then has
            ``'failed: ...'`` for it and ``'not tried'`` for those after it.

    Note:
        Changes the installed packages in memory. A second call changes nothing.
    """
    for name in PATCHES:
        if _report[name] == 'applied':
            continue
        try:
            patch = import_module(f'{__name__}.{name}')
            needed = patch.is_needed()
            if needed:
                patch.apply()
        except Exception as error:
            _report[name] = f'failed: {type(error).__name__}: {error}'
            raise
        _report[name] = 'applied' if needed else 'not needed'
        _logger.debug('patch %s: %s', name, _report[name])
    return patch_report()


def patch_report() -> dict[str, str]:
    """Return what :func:`apply_patches` did so far, by the patch's name."""
    return dict(_report)


__all__ = ['PATCHES', 'apply_patches', 'patch_report']
