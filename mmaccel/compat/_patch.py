"""Replace an object under every name that already refers to it."""

import sys
from typing import Any


def replace_everywhere(name: str, old: Any, new: Any) -> int:
    """Rebind module attribute ``name`` from ``old`` to ``new`` in all loaded modules.

    ``from a import f`` copies the reference, so patching ``a.f`` alone would leave
    the importers with the defect. Modules loaded later import the new object.

    Args:
        name: The attribute's name.
        old: The object to be replaced, compared by identity.
        new: The object to put in its place.

    Returns:
        The number of modules changed.
    """
    changed = 0
    for module in list(sys.modules.values()):
        # vars(), because getattr would trigger lazily loading modules
        if getattr(module, '__dict__', {}).get(name) is old:
            setattr(module, name, new)
            changed += 1
    return changed
