"""Mends for defects of the installed stack, one small guarded module each.

A mend module has ``is_needed()``, which looks at the behaviour rather than at version
numbers, and ``apply()``, which tells whether it mended anything: it does nothing where
the defect is absent, and nothing more when called again.
"""

from __future__ import annotations

import logging
from importlib import import_module

#: The defect that each mend is for, in the order they must be applied: what the
#: import of others needs comes first.
MENDS = {
    'pkg_resources_check': 'mmengine needs pkg_resources, gone from setuptools 82',
    'mmcv_ops': 'mmcv-lite lacks mmcv._ext, which mmdet and mmseg import',
    'safe_checkpoints': 'torch >= 2.6 refuses the checkpoints of mmengine',
    'registry_locations': 'mmselfsup 1.0.0 registers from a module it lacks',
    'hue_overflow': 'mmcv.adjust_hue overflows for negative hue on numpy >= 2',
    'collate_scope': 'mmengine passes _scope_ on to collate functions',
    'swav_sinkhorn': 'SwAV balances prototypes over one process only',
    'swav_queue': 'SwAVHook needs CUDA and keeps its queue in side files',
}

_logger = logging.getLogger(__name__)
_report: dict[str, str] = {}


def apply_mends() -> dict[str, str]:
    """Apply every mend the installed stack needs.

    Returns:
        By the mend's name, in order, ``'applied'`` or ``'not needed'``.

    Raises:
        Exception: Whatever stopped a mend; :func:`mend_report` then says
            ``'failed: ...'`` for it and ``'not tried'`` for those after it.

    Note:
        Patches the installed packages in memory. A second call changes nothing.
    """
    for name in MENDS:
        _report.setdefault(name, 'not tried')
    for name in MENDS:
        if _report[name] == 'applied':
            continue
        try:
            applied = import_module(f'{__name__}.{name}').apply()
        except Exception as error:
            _report[name] = f'failed: {type(error).__name__}: {error}'
            raise
        _report[name] = 'applied' if applied else 'not needed'
        _logger.debug('mend %s: %s', name, _report[name])
    return dict(_report)


def mend_report() -> dict[str, str]:
    """Return what :func:`apply_mends` did so far, by the mend's name."""
    return {name: _report.get(name, 'not tried') for name in MENDS}


__all__ = ['MENDS', 'apply_mends', 'mend_report']
