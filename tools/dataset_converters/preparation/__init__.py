"""Checking data sets on the disk, and unpacking them from the archives a user has."""

from .finding import Finding, as_table, explain
from .images import image_fault, spread
from .install import install, remove_stages
from .sources import FolderSource, Source, TarSource, open_source

__all__ = [
    'Finding',
    'FolderSource',
    'Source',
    'TarSource',
    'as_table',
    'explain',
    'image_fault',
    'install',
    'open_source',
    'remove_stages',
    'spread',
]
