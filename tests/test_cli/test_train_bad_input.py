"""Each bad input stops before the first iteration with one sentence and exit code 1."""

import pytest

from mmaccel.cli import main
from tests.folder_run import write_config, write_images
from tests.processes import run_tool

DATA = 'train_dataloader.dataset'
IMAGENET = {
    f'{DATA}.type': 'mmcls.ImageNet',
    f'{DATA}.ann_file': 'meta/train.txt',
    f'{DATA}.data_prefix': dict(img_path='train/'),
}
ONE_VIEW = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', size=32),
    dict(type='PackSelfSupInputs'),
]


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / 'images', 8)
    return tmp_path / 'images'


def told(err):
    """The one line that is left of a refused run."""
    lines = [line for line in err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1 and 'Traceback' not in err
    return lines[0]


def preflight(tmp_path, images, capsys, *argv, accel=False, **options):
    """What ``tools/train.py`` says before it builds anything."""
    config = write_config(tmp_path / 'run.py', images, accel=accel, **options)
    argv = argv or ['--work-dir', str(tmp_path / 'out')]
    assert main(['train', config, *argv]) == 1
    return told(capsys.readouterr().err)


def start(tmp_path, images, *argv, **options):
    """What it says while it builds the run."""
    options = {'train_dataloader.num_workers': 0, 'accel': True, **options}
    config = write_config(tmp_path / 'run.py', images, **options)
    log = tmp_path / 'log.txt'
    argv = [config, '--work-dir', str(tmp_path / 'out'), *argv]
    assert run_tool('train', *argv, log=log) == 1, log.read_text()
    assert 'Epoch(train)' not in log.read_text()
    return told(log.read_text())


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'model.queue_len': 30}, 'set model.queue_len=28 or 32'),
        ({'model.queue_len': 3}, 'set model.queue_len=4'),
        ({'train_dataloader.drop_last': False}, 'train_dataloader.drop_last=True'),
        ({'model': dict(type='mmselfsup.MoCo')}, 'PartialBackpropHook'),
        ({f'{DATA}.pipeline': ONE_VIEW}, 'num_views=2'),
        ({f'{DATA}.pipeline.1.num_views': 1}, 'train_dataloader.dataset gives 1 view'),
    ],
)
def test_setting(tmp_path, images, capsys, options, expected):
    assert expected in preflight(tmp_path, images, capsys, accel=True, **options)


def test_default_queue_and_several_processes(tmp_path, images, capsys, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '3')
    argv = ['--work-dir', str(tmp_path / 'out'), '--launcher', 'pytorch']
    text = preflight(tmp_path, images, capsys, *argv)
    assert 'total batch 12' in text and 'model.queue_len=24 or 36' in text


def test_unwritable_work_dir(tmp_path, images, capsys):
    (tmp_path / 'file').write_text('')
    work_dir = str(tmp_path / 'file' / 'out')
    text = preflight(tmp_path, images, capsys, '--work-dir', work_dir)
    assert work_dir in text and text.endswith('--work-dir')


@pytest.mark.parametrize('kind', [{}, IMAGENET])
@pytest.mark.parametrize('problem', ['does not exist', 'is empty'])
def test_missing_or_empty_folder(tmp_path, images, capsys, kind, problem):
    if problem == 'is empty':
        (tmp_path / 'none' / 'deep').mkdir(parents=True)
    options = {**kind, f'{DATA}.data_root': str(tmp_path / 'none')}
    text = preflight(tmp_path, images, capsys, **options)
    assert f'{tmp_path}/none, {problem}; set {DATA}.data_root' in text


def test_missing_annotations_and_images(tmp_path, images, capsys):
    options = {**IMAGENET, f'{DATA}.data_root': str(images)}
    text = preflight(tmp_path, images, capsys, **options)
    assert f'{images}/meta/train.txt, does not exist; set {DATA}.ann_file' in text
    (images / 'meta').mkdir()
    (images / 'meta' / 'train.txt').write_text('a.jpg 0\n')
    text = preflight(tmp_path, images, capsys, **options)
    assert f'{images}/train/, does not exist; set {DATA}.data_prefix.img_path' in text


def test_folder_without_images(tmp_path, images):
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'a.txt').write_text('x')
    text = start(tmp_path, images, **{f'{DATA}.data_root': str(tmp_path / 'notes')})
    assert 'there is no image under' in text and 'data_root' in text


def test_fewer_images_than_a_batch(tmp_path, images):
    options = {'train_dataloader.batch_size': 16}
    text = start(tmp_path, images, **options)
    assert 'do not fill one batch of 16' in text


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'custom_hooks.0.exit_probs': (0.5, 0.5)}, 'exit_probs has 2 values but'),
        ({'model.crop_layer.crop_ratio': 1.5}, 'crop_ratio=1.5'),
        ({'model.crop_layer.after_stages': (1, 4)}, 'window after stage 4'),
    ],
)
def test_setting_of_a_component(tmp_path, images, options, expected):
    text = start(tmp_path, images, **options)
    assert expected in text and 'MMACCEL_DEBUG' not in text


def test_setting_of_a_component_of_others(tmp_path, images):
    options = {'nesterov': True, 'momentum': 0}
    options = {f'optim_wrapper.optimizer.{k}': v for k, v in options.items()}
    text = start(tmp_path, images, **options)
    assert text.startswith('error: optim_wrapper.optimizer: Nesterov momentum requires')
    assert text.endswith('(MMACCEL_DEBUG=1 shows where)')


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['none.py'], 'there is no config file none.py'),
        (['{config}', '--resume', 'none.pth'], 'there is no checkpoint none.pth'),
        (['{config}', '--launcher', 'pytorch'], 'use tools/dist_train.sh'),
        (['{config}', '--amp'], 'mixed precision in fp16 needs a GPU'),
        (['{config}', '--auto-scale-lr'], 'auto_scale_lr.base_batch_size=256'),
    ],
)
def test_command_line(tmp_path, images, capsys, monkeypatch, argv, expected):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path / 'run.py', images)
    argv = [arg.format(config=config) for arg in argv]
    assert main(['train', *argv]) == 1
    assert expected in told(capsys.readouterr().err)


def test_damaged_checkpoint(tmp_path, images, capsys):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'half a checkpoint')
    argv = ['--resume', str(path), '--work-dir', str(tmp_path / 'out')]
    text = preflight(tmp_path, images, capsys, *argv)
    assert str(path) in text and 'give --resume alone' in text


def test_nothing_is_started_over_damaged_checkpoints(tmp_path, images, capsys):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'epoch_1.pth').write_bytes(b'half a checkpoint')
    argv = ['--resume', '--work-dir', str(out)]
    config = write_config(tmp_path / 'run.py', images)
    assert main(['train', config, *argv]) == 1
    assert f'none of the checkpoints in {out} is whole' in capsys.readouterr().err


def test_checkpoint_of_another_architecture(tmp_path, images):
    import torch

    from tests.builders import build, moco_config

    state_dict = build(moco_config(accel=False)).state_dict()
    torch.save(
        dict(
            meta=dict(epoch=1, iter=2),
            message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
            state_dict=state_dict,
        ),
        tmp_path / 'x.pth',
    )
    text = start(tmp_path, images, '--resume', str(tmp_path / 'x.pth'))
    assert 'x.pth has another architecture than this model' in text


def test_accel_model_without_its_hook_is_warned_of(tmp_path, images):
    options = {'train_dataloader.num_workers': 0, 'custom_hooks': []}
    config = write_config(tmp_path / 'run.py', images, accel=True, epochs=1, **options)
    log = tmp_path / 'log.txt'
    assert run_tool('train', config, '--work-dir', str(tmp_path / 'o'), log=log) == 0
    warning, _, training = log.read_text().partition('Epoch(train)')
    assert 'runs without PartialBackpropHook: only the last exit is trained' in warning
    assert '(exits - - - ' in training


def test_debug_shows_the_traceback(tmp_path, images, monkeypatch):
    config = write_config(tmp_path / 'run.py', images, **{'model.queue_len': 30})
    argv = [config, '--work-dir', str(tmp_path / 'out')]
    from mmaccel.errors import ConfigError

    with pytest.raises(ConfigError):
        main(['train', *argv, '--debug'])
    monkeypatch.setenv('MMACCEL_DEBUG', '1')
    with pytest.raises(ConfigError):
        main(['train', *argv])
