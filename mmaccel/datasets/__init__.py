"""Data that resumes exactly, survives broken files and needs no annotations."""

from .checked_image import LoadCheckedImage
from .load_views import LoadViews
from .seeded_dataset import SeededDataset
from .unlabelled_folder import UnlabelledFolder

__all__ = [
    'SeededDataset',
    'LoadCheckedImage',
    'LoadViews',
    'UnlabelledFolder',
]
