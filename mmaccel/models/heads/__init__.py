"Heads.''"

from .accel_contrastive_head import AccelContrastiveHead

__all__ = ['AccelContrastiveHead']
