"""The trial step before training leaves the training as it is."""

import pytest

from mmaccel.engine import probe
from tests.builders import CROP, moco_config, simclr_config, swav_config
from tests.test_engine.test_resume import Runs

NORMALIZE = dict(mean=(124.0, 116.0, 104.0), std=(58.0, 57.0, 57.0), bgr_to_rgb=True)
MODELS = {
    'accel-moco': moco_config(crop_layer=dict(CROP)),
    'moco': moco_config(False),
    'accel-simclr': simclr_config(crop_layer=dict(CROP)),
    'accel-swav': swav_config([2], crop_layer=dict(CROP)),
    'swav': swav_config([2], False),
}


@pytest.mark.parametrize('method', MODELS)
def test_a_run_is_the_same_without_it(monkeypatch, tmp_path, method):
    model = dict(MODELS[method], data_preprocessor=NORMALIZE, _delete_=True)
    runs = Runs(tmp_path, method.startswith('accel'), model=model)
    assert runs.start('with', '--seed', '1') == 0
    monkeypatch.setattr(probe, 'probe_training', lambda runner: None)
    assert runs.start('without', '--seed', '1') == 0
    runs.assert_same('with', 'without', 'epoch_2.pth')
