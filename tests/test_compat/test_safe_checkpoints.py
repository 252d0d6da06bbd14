"""A real MMEngine checkpoint loads with torch's check on, and nothing more does."""

import argparse
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from packaging.version import Version
from torch.utils.data import DataLoader

from mmaccel.compat import safe_checkpoints

pytestmark = pytest.mark.skipif(
    Version(torch.__version__) < Version('2.6'), reason='torch.load loads anything here'
)
NUMPY_NAMES = (b'numpy.core.multiarray', b'numpy._core.multiarray')


class Line(BaseModel):
    """The smallest model a Runner trains and evaluates."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, mode):
        y = self.layer(x)
        return dict(loss=y.square().mean()) if mode == 'loss' else list(y)


class Best(BaseMetric):
    """A metric that is a numpy scalar, as mmseg's and mmdet's are."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=self.dtype(0.5))


@pytest.fixture(scope='module', params=[np.float64, np.float32])
def checkpoint(request, tmp_path_factory):
    """What Runner saves with momentum, a schedule, a message hub and a best score."""
    work_dir = tmp_path_factory.mktemp('run')
    data = DataLoader([dict(x=torch.ones(1))] * 4, batch_size=2)
    Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=data,
        val_dataloader=data,
        val_evaluator=Evaluator(Best(request.param)),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=2),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', save_best='score', rule='greater')
        ),
        log_level='ERROR',
        experiment_name=work_dir.name + request.param.__name__,
    ).train()
    return work_dir / 'epoch_2.pth'


def test_a_runners_checkpoint_loads_with_the_check_on(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)

    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 4
    assert history.mean(2) == pytest.approx(history.data[0][-2:].mean())
    assert loaded['message_hub']['runtime_info']['best_score'] == 0.5


def load_as(path, numpy_name):
    """Load with numpy's functions under the name they have in another numpy."""
    with zipfile.ZipFile(path) as old:
        entries = {entry: old.read(entry) for entry in old.namelist()}
    renamed = io.BytesIO()
    with zipfile.ZipFile(renamed, 'w') as new:
        for entry, content in entries.items():
            if entry.endswith('data.pkl'):
                assert any(b'c' + name + b'\n' in content for name in NUMPY_NAMES)
                for name in NUMPY_NAMES:
                    content = content.replace(b'c' + name, b'c' + numpy_name)
            new.writestr(entry, content)
    renamed.seek(0)
    return torch.load(renamed)


@pytest.mark.parametrize('name', NUMPY_NAMES)
def test_it_loads_under_the_names_of_numpy_1_and_2(checkpoint, name):
    history = load_as(checkpoint, name)['message_hub']['log_scalars']['train/loss']
    assert len(history.data[0]) == 4


def named(allowed):
    """What an entry is called, which is the same in every process."""
    if isinstance(allowed, tuple):
        return f'{allowed[0].__name__} as {allowed[1]}'
    return allowed.__name__


@pytest.mark.parametrize(
    'left_out', sorted(safe_checkpoints.allowed_globals(), key=named), ids=named
)
def test_nothing_is_allowed_without_need(left_out, tmp_path):
    everything = dict(
        history=HistoryBuffer([1.0], [1]),
        counts=HistoryBuffer([1], [1]),
        scalars=[np.float64(1), np.float32(1)],
        arguments=argparse.Namespace(lr=0.1),
    )
    allowed = safe_checkpoints.allowed_globals()
    found = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        torch.serialization.add_safe_globals([x for x in allowed if x != left_out])
        failed = []
        torch.save(everything, tmp_path / 'x.pth')
        for name in NUMPY_NAMES:
            try:
                load_as(tmp_path / 'x.pth', name)
            except pickle.UnpicklingError:
                failed.append(name)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(found)
    assert failed


class Attribute:
    """Pickles as the call ``getattr(owner, name)``."""

    def __init__(self, owner, name):
        self.call = getattr, (owner, name)

    def __reduce__(self):
        return self.call


class Command:
    """Pickles as a shell command."""

    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize(
    'content',
    [
        Attribute(HistoryBuffer, '__init__'),
        Attribute(HistoryBuffer, 'register_statistics'),
        Attribute(np.ndarray, 'tofile'),
        Attribute(np.ndarray, 'min'),
        Command(),
        np.array([Command()], dtype=object),
    ],
    ids=['init', 'register', 'tofile', 'min of another', 'system', 'object array'],
)
def test_anything_else_is_still_refused(content, tmp_path):
    torch.save(content, tmp_path / 'x.pth')

    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'x.pth')
