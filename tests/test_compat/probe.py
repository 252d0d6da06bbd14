"""Try each upstream defect before and after its patch; print the errors as JSON.

``test_patches.py`` runs this in a process of its own, where ``mmaccel/__init__`` has
patched nothing: the package is put into ``sys.modules`` by hand, without running it.
"""

import importlib
import io
import json
import sys
import tempfile
import types
import warnings
from pathlib import Path

warnings.simplefilter('ignore')
package = types.ModuleType('mmaccel')
package.__path__ = [str(Path(__file__).resolve().parents[2] / 'mmaccel')]
sys.modules['mmaccel'] = package


def mmcv_ops():
    import mmcv.ops  # noqa: F401


def safe_checkpoints():
    import torch
    from mmengine.logging import HistoryBuffer

    file = io.BytesIO()
    torch.save({'loss': HistoryBuffer([1.0], [1])}, file)
    file.seek(0)
    assert torch.load(file)['loss'].current() == 1.0


def registry_locations():
    from mmselfsup.registry import LOOPS, RUNNERS

    RUNNERS.get('Runner')
    LOOPS.get('EpochBasedTrainLoop')


def package_configs():
    from mmengine.config import Config

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'config.py')
        file.write_text("_base_ = 'mmaccel::accel/mocov2_r50_8xb32.py'")
        cfg = Config.fromfile(file)
    assert cfg.model._scope_ == 'mmselfsup'  # as in a config read by its path


def hue_overflow():
    import mmcv
    import numpy as np
    from mmcv.image import adjust_hue
    from mmselfsup.datasets.transforms.processing import ColorJitter

    image = np.full((2, 2, 3), 7, np.uint8)
    adjust_hue(image, -0.1)
    mmcv.adjust_hue(image, -0.1)
    jitter = ColorJitter(0, 0, 0, hue=[-0.2, -0.1])
    jitter.transform({'img': image})


def grey_jitter():
    import numpy as np
    from mmcv.transforms import RandomGrayscale
    from mmselfsup.datasets.transforms.processing import ColorJitter

    shades = np.arange(256, dtype=np.uint8).reshape(16, 16)
    jitter = ColorJitter(brightness=[0.5, 0.5], saturation=0.4, hue=0.1)
    grey = jitter.transform({'img': shades})['img']
    assert grey.shape == (16, 16)
    assert abs(grey - shades / 2).max() <= 1  # colour has no effect on grey
    same = RandomGrayscale(1.0, keep_channels=True).transform({'img': shades})
    assert abs(same['img'].astype(int) - shades).max() <= 1


def collate_scope():
    import torch
    from mmengine.config import Config
    from mmengine.runner import Runner

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'config.py')
        file.write_text(
            "_base_ = 'mmselfsup::selfsup/mocov2/"
            "mocov2_resnet50_8xb32-coslr-200e_in1k.py'\n"
        )
        loader = Config.fromfile(file).train_dataloader
    assert '_scope_' in loader.collate_fn  # or the test tests nothing
    loader.update(dataset=[torch.zeros(1)], sampler=[0], batch_size=1)
    loader.update(num_workers=0, persistent_workers=False)
    next(iter(Runner.build_dataloader(loader)))


def attempt(probe):
    try:
        probe()
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return None


results = {}
for probe in (
    mmcv_ops,
    safe_checkpoints,
    registry_locations,
    package_configs,
    hue_overflow,
    grey_jitter,
    collate_scope,
):
    name = probe.__name__
    patch = importlib.import_module(f'mmaccel.compat.{name}')
    results[name] = {'before': attempt(probe), 'needed': patch.is_needed()}
    if results[name]['needed']:
        patch.apply()
    results[name].update(after=attempt(probe), needed_after=patch.is_needed())
    if name == 'mmcv_ops':
        results['mmdet_in_pretraining'] = 'mmdet.models' in sys.modules


def transfer(module):
    """Import a package of the transfer experiments, unless it is not installed."""
    if importlib.util.find_spec(module.partition('.')[0]) is None:
        return 'not installed'
    return attempt(lambda: importlib.import_module(module))


def extra_norm():
    """Import what detection configs name in ``custom_imports``."""
    module = importlib.import_module('mmselfsup.models.utils.res_layer_extra_norm')
    assert module.ResLayerExtraNorm


results['mmdet'] = transfer('mmdet.models')
results['mmseg'] = transfer('mmseg.models')
if results['mmdet'] is None:
    results['extra_norm'] = attempt(extra_norm)
print(json.dumps(results))
