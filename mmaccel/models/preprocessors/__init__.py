"""Augmentations in batches on the training device."""

from .view_preprocessor import ViewPreprocessor

__all__ = ['ViewPreprocessor']
