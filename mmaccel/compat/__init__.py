"""Mends for defects of the installed stack, one small guarded module each.

A mend module has ``NAME``, ``DEFECT`` (one line for the doctor), ``is_needed()``,
which looks at the behaviour rather than at version numbers, and ``apply()``, which
does nothing where the defect is absent and is safe to call twice.
"""

from __future__ import annotations

import logging
from importlib import import_module

#: In the order they must be applied: what the import of others needs comes first.
MENDS = (
    'pkg_resources_check',
    'mmcv_ops',
    'safe_checkpoints',
    'registry_locations',
    'hue_overflow',
    'collate_scope',
    'swav_sinkhorn',
    'swav_queue',
)

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
