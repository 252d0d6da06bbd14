"""Accelerated contrastive pretraining for MMSelfSup.

Importing this package patches the known defects of the installed packages and registers
every component in MMSelfSup's registries.
"""

from mmaccel._startup import start
from mmaccel.version import __version__

__all__ = ['__version__']

start()
