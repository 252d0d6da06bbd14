"""``python -m mmaccel``: the command ``mmaccel``."""

import sys

from mmaccel.cli import main

if __name__ == '__main__':
    sys.exit(main())
