"""Accelerated contrastive pretraining for MMSelfSup.

Importing this package patches the known defects of the installed stack and registers
every component in MMSelfSup's registries. Only the command ``mmaccel`` does so later,
once it has read its arguments.
"""

from mmaccel._startup import is_command, start
from mmaccel.version import __version__

__all__ = ['__version__']

if not is_command():
    start()
