"""Data that resumes exactly, survives broken files and needs no annotations."""

from .checked_image import LoadCheckedImage
from .epoch_sampler import EpochSampler
from .folder_in_memory import FolderInMemory
from .load_views import LoadViews
from .seeded_dataset import SeededDataset
from .unlabelled_folder import UnlabelledFolder

__all__ = [
    'SeededDataset',
    'EpochSampler',
    'FolderInMemory',
    'LoadCheckedImage',
    'LoadViews',
    'UnlabelledFolder',
]
