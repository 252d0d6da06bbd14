"""The probes from the command line: figures, cache, layouts of data, refusals."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcls.models import ResNet_CIFAR
from mmselfsup.models import ResNet
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mmaccel.engine.config import load_config
from mmaccel.engine.preflight import check_labels
from mmaccel.errors import ConfigError
from mmaccel.evaluation import probing
from mmaccel.evaluation.labelled_images import labelled_sets
from tests.processes import TOOLS, exit_code
from tests.small_run import write_dataset

ROOT = TOOLS.parent
SHELLS = TOOLS / 'benchmarks/classification'
CONFIG = str(ROOT / 'configs/small/accel-mocov2_r18_cifar10-freeze.py')
SMALL = dict(base_channels=8, stem_channels=8)
OPTIONS = [
    'model.backbone.base_channels=8',
    'model.backbone.stem_channels=8',
    'model.neck.in_channels=(8,16,32,64)',
    'model.queue_len=64',
]
TRAIN, TEST = 96, 48


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Four classes: noise of a colour each, that overlaps with the others'."""
    folder = tmp_path_factory.mktemp('data') / 'cifar10'
    rng = np.random.default_rng(0)
    colours = rng.integers(90, 160, (4, 3))
    for split, number in (('train', TRAIN), ('test', TEST)):
        for i in range(number):
            label = i % 4
            path = folder / split / f'class{label}' / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = (
                colours[label] + rng.normal(0, 40, 3) + rng.normal(0, 30, (32, 32, 3))
            )
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope='module')
def photos(images):
    """A few of them, 60 x 45 px large, in a folder `val` instead of `test`."""
    root = images.parent / 'flowers'
    for split, name in (('train', 'train'), ('test', 'val')):
        for path in sorted((images / split).rglob('*.png'))[::6]:
            target = root / name / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).resize((60, 45)).save(target)
    return root


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(1)
    return ResNet_CIFAR(18, out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN'), **SMALL)


@pytest.fixture(scope='module')
def checkpoint(backbone, tmp_path_factory):
    return save(backbone, tmp_path_factory.mktemp('run') / 'epoch_5.pth')


def save(backbone, path, prefix='backbone.'):
    state = {f'{prefix}{n}': x for n, x in backbone.state_dict().items()}
    torch.save(dict(meta=dict(epoch=5, seed=3), state_dict=state), path)
    return path


def probe(*argv, images=None, options=OPTIONS):
    """Run the tool on the images that the config's monitor names."""
    where = 'default_hooks.knn.{0}_dataloader.dataset.data_prefix={1}/{0}'
    data = [where.format(split, images) for split in ('train', 'test')]
    argv = [*argv, '--num-workers', 0, '--cfg-options', *options]
    return exit_code('probe', *argv, *(data if images else []))


def records(work_dir):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in Path(work_dir).glob('*/result.json')
    }


def plain_features(backbone, images, split):
    """What the tool should compute, in a loop over files."""
    mean, std = (125.31, 122.95, 113.87), (62.99, 62.09, 66.70)
    names = ['Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final']
    features, labels = {name: [] for name in names}, []
    backbone.eval()
    for path in sorted((images / split).rglob('*.png')):
        x = (np.asarray(Image.open(path), np.float32) - mean) / std
        x = torch.from_numpy(x).float().permute(2, 0, 1)[None]
        with torch.no_grad():
            stem = torch.relu(backbone.bn1(backbone.conv1(x)))
            for name, maps in zip(names, (stem, *backbone(x))):
                features[name].append(maps.mean((2, 3))[0].numpy())
        labels.append(int(path.parent.name[-1]))
    return {name: np.stack(x) for name, x in features.items()}, np.array(labels)


def test_figures_are_those_of_scikit_learn(
    images, backbone, checkpoint, tmp_path, capsys
):
    argv = [CONFIG, checkpoint, '--work-dir', tmp_path, '--k', 30, 5]
    assert probe(*argv, images=images) == 0
    got = records(tmp_path)
    (x, y), (test_x, test_y) = (
        plain_features(backbone, images, split) for split in ('train', 'test')
    )

    def knn(k):
        model = KNeighborsClassifier(
            k, metric='cosine', weights=lambda d: np.exp((1 - d) / 0.07)
        )
        return 100 * model.fit(x['Final'], y).score(test_x['Final'], test_y)

    expected = dict(top1=knn(30), top1_k30=knn(30), top1_k5=knn(5))
    assert got['knn']['metrics'] == pytest.approx(expected)

    table = capsys.readouterr().out
    stages = got['stages']['metrics']
    assert list(stages) == ['Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final']
    for name, value in stages.items():
        line = next(s for s in table.splitlines() if f'linear top1, {name} ' in s)
        penalty = float(line.split('penalty ')[1].split(',')[0])
        scaler = StandardScaler().fit(x[name])
        model = LogisticRegression(C=1 / (penalty * TRAIN), max_iter=2000)
        model.fit(scaler.transform(x[name]), y)
        accuracy = 100 * model.score(scaler.transform(test_x[name]), test_y)
        assert value == pytest.approx(accuracy, abs=100 / TEST + 1e-6), name
    assert got['linear']['metrics'] == dict(top1=stages['Final'])
    assert 40 < stages['Feat1'] <= 100

    for record in got.values():
        assert (record['dataset'], record['n']) == ('CIFAR-10', TEST)
        assert (record['pretrain_epochs'], record['frozen']) == (5, True)
        assert record['pretrain'] == str(checkpoint)
    assert 'CIFAR-10' in table and f'{TEST}  kNN top1, k=30' in table


def test_mixed_precision_is_part_of_the_protocol(
    images, checkpoint, tmp_path, monkeypatch
):
    """Its features are another set, near those of fp32, and its record says so."""
    features = []
    evaluate = probing.evaluate_knn

    def keep(train, test, *args):
        features.append(test.stages['Final'])
        return evaluate(train, test, *args)

    monkeypatch.setattr(probing, 'evaluate_knn', keep)
    argv = [CONFIG, checkpoint, '--work-dir', tmp_path, '--metrics', 'knn']
    protocols = []
    for amp in ([], ['--amp', 'bf16']):
        assert probe(*argv, *amp, images=images) == 0
        protocols.append(records(tmp_path)['knn']['protocol'])
    assert protocols[1] == f'{protocols[0]} in bf16'
    full, half = features
    assert 0 < np.abs(full - half).max() < 0.02 * np.abs(full).max()


def test_features_are_computed_once_until_something_changes(
    images, backbone, tmp_path, monkeypatch, capsys
):
    images = shutil.copytree(images, tmp_path / 'cifar10')
    checkpoint = save(backbone, tmp_path / 'epoch_1.pth')
    extractions = []
    extract = probing.extract_stage_features
    monkeypatch.setattr(
        probing,
        'extract_stage_features',
        lambda *args: extractions.append(1) or extract(*args),
    )

    def computed(*argv):
        """Whether features were computed, what was said, and the accuracies."""
        extractions.clear()
        argv = [CONFIG, checkpoint, '--work-dir', tmp_path / 'out', *argv]
        assert probe(*argv, images=images) == 0
        metrics = {task: r['metrics'] for task, r in records(tmp_path / 'out').items()}
        return len(extractions), capsys.readouterr().out, metrics

    assert computed('--metrics', 'knn')[0] == 2
    times, said, first = computed('--metrics', 'stages')
    assert times == 2 and 'for another Feat1' in said
    times, said, again = computed('--metrics', 'stages')
    assert times == 0 and 'of the last run are used' in said and again == first
    assert computed('--metrics', 'knn')[0] == 0

    with torch.no_grad():
        backbone.conv1.weight.neg_()
    save(backbone, checkpoint)
    with torch.no_grad():
        backbone.conv1.weight.neg_()
    times, said, other = computed('--metrics', 'stages')
    assert times == 2 and 'for another checkpoint' in said
    assert other['stages'] != first['stages']

    extra = images / 'train' / 'class0' / 'extra.png'
    shutil.copy(images / 'train' / 'class1' / '1.png', extra)
    times, said, _ = computed('--metrics', 'knn')
    assert times == 2 and 'for another data' in said


def test_a_folder_of_another_layout_and_size(photos, tmp_path):
    """A val folder, images to be resized to 224 px, a bottleneck network."""
    network = ResNet(50, **SMALL)
    checkpoint = save(network, tmp_path / 'epoch_9.pth')
    config = ROOT / 'configs/accel/mocov2_r50_8xb32.py'
    options = [*OPTIONS, 'model.neck.in_channels=(32,64,128,256)']
    argv = [config, checkpoint, '--data-root', photos, '--metrics', 'stages']
    assert probe(*argv, options=options) == 0
    out = tmp_path / 'probe' / 'epoch_9' / 'flowers'  # beside the checkpoint
    assert list(records(out)) == ['stages']
    features = np.load(out / 'features' / 'test' / 'Final.npy')

    path = sorted((photos / 'val').rglob('*.png'))[0]
    x = Image.open(path).resize((341, 256), Image.BILINEAR).crop((58, 16, 282, 240))
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    x = torch.from_numpy((np.asarray(x, np.float32) - mean) / std).float()
    network.eval()
    with torch.no_grad():
        expected = network(x.permute(2, 0, 1)[None])[-1].mean((2, 3))[0]
    np.testing.assert_allclose(features[0], expected, rtol=1e-3, atol=1e-4)


def test_labels_of_a_flat_folder_come_from_meta(photos, tmp_path):
    shutil.copytree(photos / 'train', tmp_path / 'train')
    (tmp_path / 'val').mkdir()
    (tmp_path / 'meta').mkdir()
    lines = []
    for path in sorted((photos / 'val').rglob('*.png')):
        shutil.copy(path, tmp_path / 'val')
        lines.append(f'{path.name} {path.parent.name[-1]}')
    (tmp_path / 'meta' / 'val.txt').write_text('\n'.join(lines))
    cfg = load_config(CONFIG)
    train, test = probing.build_sets(labelled_sets(cfg, str(tmp_path))).values()
    assert len(train) == 16 and len(test) == len(lines)
    infos = [test.get_data_info(i) for i in range(len(test))]
    assert lines == [f'{Path(i["img_path"]).name} {i["gt_label"]}' for i in infos]


def test_fashion_mnist_by_the_configs_own_monitor_untrained(tmp_path):
    data = write_dataset(tmp_path / 'fashion-mnist')
    config = ROOT / 'configs/small/accel-mocov2_r18_fashion-mnist_quickstart.py'
    options = [
        f'default_hooks.knn.{s}_dataloader.dataset.data_prefix={data}'
        for s in ('train', 'test')
    ]
    argv = [config, '--untrained', '--work-dir', tmp_path / 'out', '--k', 5]
    assert probe(*argv, options=options) == 0
    got = records(tmp_path / 'out')
    assert set(got) == {'knn', 'linear', 'stages'}
    assert all(r['dataset'] == 'Fashion-MNIST' for r in got.values())
    assert all(r['method'] == 'random weights' for r in got.values())
    assert got['linear']['metrics']['top1'] > 50  # stripes, of four directions


@pytest.mark.parametrize(
    'case, message',
    [
        ('two backbones', 'encoder_k.'),
        ('absent', 'there is no checkpoint'),
        ('none', 'checkpoint --untrained is required'),
    ],
)
def test_what_does_not_fit_is_refused(
    case, message, images, backbone, tmp_path, capsys
):
    path = tmp_path / 'epoch_1.pth'
    if case == 'two backbones':
        state = backbone.state_dict()
        prefixes = ('encoder_q.', 'encoder_k.')
        torch.save({f'{p}{n}': x for p in prefixes for n, x in state.items()}, path)
    argv = [CONFIG, *([] if case == 'none' else [path]), '--work-dir', tmp_path / 'out']
    assert probe(*argv, images=images) == (2 if case == 'none' else 1)
    assert message in capsys.readouterr().err
    assert not records(tmp_path / 'out')


def test_a_prefix_of_other_projects_is_found(images, backbone, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    save(backbone, path, prefix='encoder.')
    argv = [CONFIG, path, '--work-dir', tmp_path / 'out', '--k', 5]
    assert probe(*argv, images=images) == 0
    assert records(tmp_path / 'out')


def test_missing_data_is_named_with_the_option(checkpoint, tmp_path, capsys):
    argv = [CONFIG, checkpoint, '--work-dir', tmp_path / 'out']
    assert probe(*argv, images=tmp_path / 'nowhere') == 1
    assert 'knn.train_dataloader.dataset.data_prefix=PATH' in capsys.readouterr().err
    (tmp_path / 'train').mkdir()
    assert probe(*argv, '--data-root', tmp_path) == 1
    assert 'has no images in train/<class>/' in capsys.readouterr().err
    config = ROOT / 'configs/accel/mocov2_r50_8xb32.py'
    path = save(ResNet(18, **SMALL), tmp_path / 'r18.pth')
    options = [*OPTIONS, 'model.backbone.depth=18']
    assert probe(config, path, options=options) == 1
    assert 'has no KNNHook that names labelled images; give --data-root' in (
        capsys.readouterr().err
    )


def test_classes_that_differ_are_refused(images, checkpoint, tmp_path, capsys):
    images = shutil.copytree(images, tmp_path / 'cifar10')
    (images / 'test' / 'class2').rename(images / 'test' / 'bird')
    assert probe(CONFIG, checkpoint, '--metrics', 'knn', images=images) == 1
    assert 'different classes (bird, class2' in capsys.readouterr().err


def test_labels_that_count_from_elsewhere_are_refused(
    photos, checkpoint, tmp_path, capsys
):
    shutil.copytree(photos / 'train', tmp_path / 'train')
    shutil.copytree(photos / 'val', tmp_path / 'val')
    (tmp_path / 'meta').mkdir()
    files = sorted((photos / 'val').rglob('*.png'))

    def run(first):
        labels = [int(f.parent.name[-1]) + first for f in files]
        lines = [f'{f.parent.name}/{f.name} {y}\n' for f, y in zip(files, labels)]
        (tmp_path / 'meta/val.txt').write_text(''.join(lines))
        argv = [CONFIG, checkpoint, '--data-root', tmp_path, '--metrics', 'knn']
        return probe(*argv, '--work-dir', tmp_path / 'out')

    assert run(first=1) == 1
    error = capsys.readouterr().err
    assert 'label 4' in error and 'from 0 to 3' in error
    assert run(first=0) == 0


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        ('', 'is empty'),
        ('a/0.png 0\n\n', "line 2: ''"),
        ('a/0.png,0\n', "line 1: 'a/0.png,0'"),
        ('a/0.png\t0\n', 'line 1'),
        ('a/0.png 0\na/1.png 1.0\n', "line 2: 'a/1.png 1.0'"),
        ('a/0.png cat\n', 'line 1'),
        ('a/0.png -1\n', 'line 1'),
        ('\ufeffa/0.png 0\n', 'byte-order mark'),
        ('gr\xfcn/0.png 0\n'.encode('latin-1'), 'UTF-8'),
        ('a/0.png 0\na/1.png 1\na/0.png 0\n', 'line 3: a/0.png is there already'),
        ('a b/0.png 0\r\n', None),
    ],
)
def test_lists_of_labels_are_checked_line_by_line(tmp_path, content, told):
    path = tmp_path / 'val.txt'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    config = dict(type='mmcls.CustomDataset', ann_file=str(path))
    if told is None:
        check_labels(config)
        return
    with pytest.raises(ConfigError) as error:
        check_labels(config)
    assert str(path) in str(error.value) and told in str(error.value)


@pytest.mark.parametrize(
    ('files', 'told'),
    [
        (['a/0.png', 'b/0.png', 'b/1.gif', 'b/2.GIF'], r'\(2 \.gif\)'),
        (['a/0.png', 'b/0.jp2', 'b/1.gif'], '1 .jp2'),
        (['a/0.png', 'a/1.png'], 'one class, a'),
        (['a/0.png', 'b/0.tiff', 'b/notes.txt', 'b/.x.gif'], None),
    ],
)
def test_folders_of_classes_are_read_whole_or_refused(tmp_path, files, told):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b'x')
    config = dict(type='mmcls.CustomDataset', data_prefix=str(tmp_path))
    if told is None:
        check_labels(config)
        return
    with pytest.raises(ConfigError, match=told):
        check_labels(config)


def test_a_hidden_folder_is_no_class(photos, checkpoint, tmp_path, capsys):
    root = shutil.copytree(photos, tmp_path / 'flowers')
    (root / 'val/.ipynb_checkpoints').mkdir()
    argv = [CONFIG, checkpoint, '--data-root', root, '--work-dir', tmp_path / 'out']
    assert probe(*argv) == 1
    assert '.ipynb_checkpoints' in capsys.readouterr().err


def test_a_broken_image_is_one_sentence_and_keeps_the_features(
    photos, checkpoint, tmp_path, capsys
):
    images = shutil.copytree(photos, tmp_path / 'flowers')
    broken = sorted((images / 'val').rglob('*.png'))[-1]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    argv = [CONFIG, checkpoint, '--data-root', images, '--metrics', 'knn', '--k', 5]
    argv = ['probe', *argv, '--work-dir', tmp_path / 'out', '--cfg-options', *OPTIONS]

    assert exit_code(*argv, '--num-workers', 1) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and f'{broken}: the PNG file is truncated' in error

    broken.write_bytes(whole)
    assert exit_code(*argv, '--num-workers', 0) == 0
    out = capsys.readouterr().out
    assert 'features of 8 test images' in out and 'of 16 train images' not in out


def test_all_images_of_a_folder_are_used_and_vote(photos, checkpoint, tmp_path):
    images = shutil.copytree(photos, tmp_path / 'flowers')
    for path in sorted(images.rglob('*.png'))[::2]:
        Image.open(path).save(path.with_suffix('.TIFF'))
        path.unlink()
    argv = [CONFIG, checkpoint, '--data-root', images, '--metrics', 'knn']
    out = tmp_path / 'out'
    assert probe(*argv, '--k', 200, 20, 5, '--work-dir', out) == 0
    record = records(out)['knn']
    assert record['n'] == 8
    assert set(record['metrics']) == {'top1', 'top1_k16', 'top1_k5'}
    assert 'k=16' in record['protocol']


@pytest.mark.parametrize(
    'config',
    ['mocov1_r50_8xb32', 'simclr_r50_8xb32', 'swav_r50_8xb32-mcrop-2-4-160-96'],
)
def test_every_method_can_be_judged(config, photos, tmp_path):
    path = save(ResNet(18, **SMALL), tmp_path / 'epoch_1.pth')
    options = [*OPTIONS[:3], 'model.backbone.depth=18']
    config = ROOT / f'configs/accel/{config}.py'
    argv = [config, path, '--data-root', photos, '--metrics', 'knn']
    assert probe(*argv, options=options) == 0


@pytest.mark.parametrize(
    'shell, argv, expected',
    [
        (
            'dist_train_linear.sh',
            ['moco.py', 'pre.pth', '2', '--seed', '1'],
            ['train.py', 'moco.py', '--launcher pytorch', '--nproc_per_node=2',
             '--pretrained pre.pth --seed 1'],
        ),
        (
            'dist_test_linear.sh',
            ['moco.py', 'linear.pth', '2', '--out', 'x.json'],
            ['test.py', 'moco.py linear.pth', '--launcher pytorch', '--out x.json'],
        ),
        (
            'slurm_train_linear.sh',
            ['part', 'job', 'moco.py', 'pre.pth', '--amp'],
            ['-p part', '--job-name=job', 'train.py moco.py', '--launcher slurm',
             '--pretrained pre.pth --amp'],
        ),
    ],
)  # fmt: skip
def test_shells_hand_their_arguments_on(shell, argv, expected, tmp_path):
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/usr/bin/env bash\necho "$@"\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ['bash', SHELLS / shell, *argv],
        env={
            **os.environ,
            'PATH': f'{tmp_path}:{os.environ["PATH"]}',
            'PYTHON': str(tmp_path / 'python'),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    for part in expected:
        assert part in done.stdout
    asked = subprocess.run(['bash', SHELLS / shell, '--help'], capture_output=True)
    assert asked.returncode == 0 and b'example' in asked.stdout
    assert subprocess.run(['bash', SHELLS / shell, 'x']).returncode == 2
