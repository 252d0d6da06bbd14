"""Evaluate a checkpoint's frozen features: the same as `mmaccel probe`."""

from pathlib import Path
from runpy import run_path

if __name__ == '__main__':
    run_path(str(Path(__file__).parents[2] / '_checkout.py'))['run']('probe')
