"""Draw accuracy against training time: the same as `mmaccel plot`."""

from pathlib import Path
from runpy import run_path

if __name__ == '__main__':
    run_path(str(Path(__file__).parents[1] / '_checkout.py'))['run']('plot')
