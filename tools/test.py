"""Evaluate a checkpoint: the same as `mmaccel test`."""

from pathlib import Path
from runpy import run_path

if __name__ == '__main__':
    run_path(str(Path(__file__).parents[0] / '_checkout.py'))['run']('test')
