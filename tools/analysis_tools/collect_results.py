"""Gather results into tables: the same as `mmaccel collect`."""

from pathlib import Path
from runpy import run_path

if __name__ == '__main__':
    run_path(str(Path(__file__).parents[1] / '_checkout.py'))['run']('collect')
