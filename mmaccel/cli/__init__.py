"""The command `mmaccel <verb>`, which reads its arguments before it imports the stack.

A verb is a module with a docstring, ``EXAMPLES``, ``add_arguments(parser)`` and
``run(args)``; ``check(args)``, if there is one, raises ``ArgumentTypeError`` for
arguments that do not go together. Imports at module level are light; those of torch,
mmengine and the other rooms stand in the functions that use them.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from mmaccel._startup import start
from mmaccel.version import __version__

from .command import Command, about

VERBS = (
    'train',
    'test',
    'probe',
    'cost',
    'step',
    'data',
    'budget',
    'batch-size',
    'plot',
    'windows',
    'features',
    'spread',
    'export',
    'collect',
    'doctor',
)


def main(argv: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        argv (list[str], optional): Verb and arguments. Defaults to the command line's.

    Returns:
        int: 0 on success, 1 for an expected error, told in one sentence. Wrong
        arguments raise ``SystemExit(2)``, as argparse does.
    """
    args = parse_args(argv)
    if args.verb != 'doctor':  # which says what keeps mmaccel from starting
        try:
            start()
        except ImportError as error:
            if args.command.debug:
                raise
            print(f'error: {error}', file=sys.stderr)
            return 1
    try:
        return args.command.run(lambda _: args.module.run(args))
    except argparse.ArgumentTypeError as error:  # wrong on this machine
        return args.parser.error(str(error))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, importing neither torch nor OpenMMLab's packages."""
    parser = argparse.ArgumentParser(
        prog='mmaccel',
        description='Accelerated contrastive pretraining: train, evaluate and measure.',
        epilog='`mmaccel VERB --help` explains a verb and gives examples.',
    )
    parser.add_argument('--version', action='version', version=__version__)
    verbs = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
    for name in VERBS:
        module = import_module(f'{__name__}.{name.replace("-", "_")}')
        texts = about(module.__doc__, module.EXAMPLES)
        short = texts['description'].partition('\n')[0].rstrip('.')
        verb = verbs.add_parser(name, help=short, **texts)
        module.add_arguments(verb)
        verb.add_argument(
            '--debug', action='store_true', help='show the traceback of every error'
        )
        verb.set_defaults(module=module, parser=verb)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        args.parser.error(f'unrecognized arguments: {" ".join(unknown)}')
    if hasattr(args.module, 'check'):
        try:
            args.module.check(args)
        except argparse.ArgumentTypeError as error:
            args.parser.error(str(error))
    args.command = Command(args.debug)
    return args
