"""``python -m mmaccel.doctor``: the earlier spelling of ``mmaccel doctor``."""

import sys

from mmaccel.cli import main

if __name__ == '__main__':
    sys.exit(main(['doctor', *sys.argv[1:]]))
