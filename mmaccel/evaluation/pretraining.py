"""What a pretraining was and how long it took, from its log."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log

from mmaccel.engine.checkpoints import find_newest

from .curves import NO_TIME, read_scalars
from .recipe import SUPERVISED, Recipe, describe, parse_config
from .record import checkpoint_meta, load_checkpoint


class Pretraining(NamedTuple):
    """A pretraining run.

    ``epochs``: finished; ``seconds``: of training, evaluation excluded; ``devices``:
    number of processes, one a device; ``device``: what they ran on; ``settings``:
    digest of its hyper-parameters.
    """

    work_dir: str
    recipe: Recipe
    epochs: int
    seconds: float
    devices: int
    device: str
    settings: str | None = None

    @property
    def days(self) -> float:
        """Training time in days."""
        return self.seconds / 86400

    @property
    def gpu_days(self) -> float:
        """Training time in days times the number of devices."""
        return self.days * self.devices


def find_pretrainings(folders: Iterable[str | Path]) -> list[Pretraining]:
    """All contrastive pretrainings below some folders whose log has a training time.

    Args:
        folders (Iterable[str or Path]): Work directories, or folders of some.
    """
    found: dict[Path, Pretraining] = {}
    for folder in folders:
        for log in sorted(Path(folder).rglob('vis_data/scalars.json')):
            work_dir = log.parents[1]
            if re.fullmatch(r'\d{8}_\d{6}', work_dir.name):  # a start of upstream's
                work_dir = work_dir.parent
            run = read_pretraining(work_dir)
            if run is not None:
                found.setdefault(work_dir.resolve(), run)
    return list(found.values())


def read_pretraining(work_dir: str | Path) -> Pretraining | None:
    """Read one run; None if it is no pretraining or has no training time."""
    work_dir = Path(work_dir)
    newest, _ = find_newest(work_dir)
    cfg = _config(work_dir, newest)
    recipe, settings = describe(cfg)
    timed = [r for r in read_scalars(work_dir) if 'train_seconds' in r]
    if recipe is None or recipe.method == SUPERVISED:
        return None
    if not timed:
        print_log(
            f'{work_dir} is a pretraining without a training time and is passed over. '
            f'{NO_TIME}',
            logger='current',
            level=logging.WARNING,
        )
        return None
    last = max(timed, key=lambda record: record.get('step', 0))
    return Pretraining(
        work_dir=str(work_dir),
        recipe=recipe,
        epochs=_epochs(newest, last, cfg),
        seconds=last['train_seconds'],
        settings=settings,
        **_machine(work_dir),
    )


def _config(work_dir: Path, checkpoint: str | None) -> dict:
    for path in sorted(work_dir.glob('**/vis_data/config.py')):
        return parse_config(path.read_text())
    meta = checkpoint_meta(load_checkpoint(checkpoint)) if checkpoint else {}
    return parse_config(str(meta.get('cfg', '')))


def _epochs(checkpoint: str | None, last: dict, cfg: dict) -> int:
    """Finished epochs: an unfinished one's records carry its number, too."""
    named = re.fullmatch(r'epoch_(\d+)', Path(checkpoint).stem) if checkpoint else None
    if named:
        return int(named[1])
    epoch = int(last.get('epoch', 0))
    whole = epoch == (cfg.get('train_cfg') or {}).get('max_epochs')
    return epoch if whole else max(epoch - 1, 0)


def _machine(work_dir: Path) -> dict:
    """Number and kind of devices, from the environment that MMEngine logs."""
    logs = sorted(work_dir.glob('*/*.log'))
    text = logs[-1].read_text(errors='replace')[:100_000] if logs else ''
    number = re.search(r'^ *GPU number: (\d+)', text, re.MULTILINE)
    names = re.findall(r'^ *GPU [\d,]+: (.+)$', text, re.MULTILINE)
    if 'CUDA available: False' in text:
        names = ['CPU']
    return dict(
        devices=int(number[1]) if number else 1,
        device=', '.join(dict.fromkeys(names)),
    )
