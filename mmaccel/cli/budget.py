"""Say how long a training takes on this machine, and how many epochs fit into hours.

Steps of the config, of its baseline and of its siblings (`-exact`, `-freeze`, `-best`)
are timed in turn, and then the loader, for about a minute in all; where a step takes
seconds, for longer. What is known of the accuracy that each keeps is quoted, with its
source.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from .command import at_least, load, save, shared

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """\
  mmaccel budget configs/small/accel-mocov2_r18_cifar10.py --hours 24
  mmaccel budget configs/accel/mocov2_r50_8xb32.py --hours 48 --gpus 8 \\
      --images photos --json budget.json
"""
_METHOD = ('model.', 'custom_hooks')  # settings that upstream's configs may not have


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    shared(parser, 'config')
    parser.add_argument(
        '--hours',
        type=_positive,
        required=True,
        metavar='H',
        help='time that training may take',
    )
    parser.add_argument(
        '--gpus',
        type=at_least(1),
        default=1,
        metavar='N',
        help='processes of a data-parallel training, each with a batch; default: 1',
    )
    shared(parser, '--batch-size', help="images per device; default: the configs'")
    parser.add_argument(
        '--images',
        metavar='FOLDER',
        help="measure the loader on these instead of the config's data",
    )
    parser.add_argument(
        '--seconds',
        type=_positive,
        default=60.0,
        metavar='S',
        help='about how long to measure; default: 60',
    )
    shared(parser, '--device', '--json', '--cfg-options')


def _positive(text: str) -> float:
    if not 0 < float(text) < float('inf'):
        raise argparse.ArgumentTypeError(f'must be positive, not {text}')
    return float(text)


def run(args: argparse.Namespace) -> None:
    """Measure, print and save."""
    from mmaccel.analysis.budget import budget_report
    from mmaccel.hardware import choose_device

    cfg = load(args)

    def read(path: str) -> Config:
        options = args.cfg_options or []
        if path == cfg.get('baseline'):
            options = [text for text in options if not text.startswith(_METHOD)]
        return load(argparse.Namespace(config=path, cfg_options=options))

    report = budget_report(
        args.config,
        cfg,
        read,
        args.hours,
        args.gpus,
        choose_device(args.device),
        args.batch_size,
        args.images,
        args.seconds,
    )
    _print(report)
    save(args.json, report)


def _print(report: dict) -> None:
    rows, gpus = report['presets'], report['gpus']
    print(
        f'{report["device"]}, torch {report["torch"]}, {gpus} process(es), '
        f'{report["images_per_epoch"]} images per epoch ({report["images_from"]})'
    )
    wide = max(len(row['name']) for row in rows)
    fit = f'epochs in {report["hours_given"]:g} h'
    print(
        f'{"":{wide}}{"batch":>7}{"s/step":>9}{"n":>5}{"with loader":>13}{"epochs":>8}'
        f'{"hours":>10}{fit:>{len(fit) + 2}}  accuracy'
    )
    for row in rows:
        print(
            f'{row["name"]:{wide}}{row["batch_size"]:7}'
            f'{row["seconds_per_step"]["median"]:9.3g}{row["n"]:5}'
            f'{row["seconds_per_step_with_loading"]:13.3g}{row["epochs"]:8}'
            f'{_plain(row["hours"]):>10}'
            f'{_plain(row["epochs_in_time"]):>{len(fit) + 2}}  {row["evidence"]}'
        )
    for row in rows:
        print(f'{row["name"]}: {row["config"]}')
    for note in _notes(report):
        print(textwrap.fill(note, 88, break_long_words=False))


def _plain(number: float) -> str:
    """Three digits or all before the point."""
    return f'{number:.0f}' if number >= 100 else f'{number:.3g}'


def _notes(report: dict) -> list[str]:
    """What the hours include, and what they leave out."""
    rows, gpus = report['presets'], report['gpus']
    notes = []
    for row in {row['loader']['rate']: row for row in rows if row['loader']}.values():
        found = row['loader']
        same = [r for r in rows if r['loader'] == found]
        limited = [r for r in same if r['limit']]
        note = (
            f'Loader of {", ".join(r["name"] for r in same)}: {found["rate"]:.4g} '
            f'views per second with {found["workers"]} worker(s) per process.'
        )
        if limited:
            least = min(r['views_per_second_needed'] for r in limited)
            note += (
                f' It is the limit of {", ".join(r["name"] for r in limited)}, whose '
                f'steps would consume {least:.4g} or more: use more workers, smaller '
                'files or fast_views=True.'
            )
        notes.append(note)
    missing = [row['name'] for row in rows if row['loader'] is None]
    if missing:
        notes.append(
            f'The loader of {", ".join(missing)} was not measured, since the data are '
            'not here: hours are those of the steps. Name a folder with --images.'
        )
    if gpus > 1:
        notes.append(
            f'With {gpus} processes each takes its share of the images; communication '
            'between them is not measured.'
        )
    return notes
