"""What happens to images between the loader and the network."""

from .accel_data_preprocessor import AccelDataPreprocessor
from .view_preprocessor import ViewPreprocessor

__all__ = ['AccelDataPreprocessor', 'ViewPreprocessor']
