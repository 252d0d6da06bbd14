"""``tools/test.py`` on what ``tools/train.py`` made."""

import json

import pytest
import torch
from mmengine.config import Config
from mmselfsup.registry import MODELS
from PIL import Image

from mmaccel.cli import main
from tests.builders import BACKBONE
from tests.folder_run import write_config, write_images
from tests.processes import run_tool


def write_classes(folder):
    """Two classes that a linear classifier tells apart: dark and bright."""
    for name, level in (('bright', 220), ('dark', 30)):
        (folder / name).mkdir(parents=True)
        for i in range(4):
            colour = (level + 5 * i,) * 3
            Image.new('RGB', (32, 32), colour).save(folder / name / f'{i}.png')


def write_classifier(path, data, **overrides):
    """A linear classification config in MMSelfSup's scope."""
    dataset = dict(
        type='mmcls.CustomDataset',
        data_root=str(data),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmcls.PackClsInputs')],
    )
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    head = dict(
        type='mmcls.LinearClsHead',
        num_classes=2,
        in_channels=64,
        topk=(1,),
        loss=dict(type='mmcls.CrossEntropyLoss'),
    )
    cfg = Config(
        dict(
            default_scope='mmselfsup',
            model=dict(
                type='mmcls.ImageClassifier',
                backbone=BACKBONE,
                neck=dict(type='mmcls.GlobalAveragePooling'),
                head=head,
                data_preprocessor=dict(
                    type='mmcls.ClsDataPreprocessor', mean=[125] * 3, std=[60] * 3
                ),
            ),
            train_dataloader=loader,
            val_dataloader=dict(
                loader, sampler=dict(type='DefaultSampler', shuffle=False)
            ),
            train_cfg=dict(by_epoch=True, max_epochs=8, val_interval=8),
            val_cfg=dict(),
            val_evaluator=dict(type='mmcls.Accuracy', topk=(1,)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=8, save_best='auto')
            ),
            visualizer=dict(type='SelfSupVisualizer', name=str(path), vis_backends=[]),
        )
    )
    cfg.merge_from_dict(overrides)
    cfg.dump(str(path))
    return str(path)


def test_classifier_is_trained_and_evaluated(tmp_path):
    write_classes(tmp_path / 'data')
    config = write_classifier(tmp_path / 'linear.py', tmp_path / 'data')
    log, out = tmp_path / 'log', tmp_path / 'out'
    argv = [config, '--work-dir', str(out), '--seed', '1']
    assert run_tool('train', *argv, log=log) == 0, log.read_text()
    (best,) = out.glob('best_accuracy_top1_epoch_8.pth')
    argv = [
        config,
        str(best),
        '--work-dir',
        str(out),
        '--out',
        str(tmp_path / 'a.json'),
    ]
    assert run_tool('test', *argv, log=log) == 0, log.read_text()
    accuracy = json.loads((tmp_path / 'a.json').read_text())['accuracy/top1']
    scored = torch.load(best, weights_only=True)['message_hub']['runtime_info']
    assert accuracy == scored['best_score'] > 50
    # the same over two processes
    assert run_tool('test', *argv, log=log, ranks=2) == 0, log.read_text()
    assert json.loads((tmp_path / 'a.json').read_text())['accuracy/top1'] == accuracy


def test_pretraining_config_is_refused(tmp_path, capsys):
    write_images(tmp_path / 'images', 4)
    config = write_config(tmp_path / 'run.py', tmp_path / 'images')
    assert main(['test', config, 'x.pth']) == 1
    text = capsys.readouterr().err
    assert 'has neither test_dataloader' in text
    assert 'KNNHook' in text and 'linear classification' in text


@pytest.mark.parametrize(
    ('missing', 'message'),
    [
        ('x.pth', 'there is no checkpoint'),
        ('data', 'test_dataloader.dataset.data_root'),
    ],
)
def test_missing_files(tmp_path, capsys, missing, message):
    if missing != 'data':
        write_classes(tmp_path / 'data')
    config = write_classifier(tmp_path / 'linear.py', tmp_path / 'data')
    if missing != 'x.pth':
        (tmp_path / 'x.pth').write_bytes(b'')
    argv = [config, str(tmp_path / 'x.pth'), '--work-dir', str(tmp_path / 'out')]
    assert main(['test', *argv]) == 1
    assert message in capsys.readouterr().err


def test_checkpoint_of_another_model(tmp_path):
    write_classes(tmp_path / 'data')
    config = write_classifier(tmp_path / 'linear.py', tmp_path / 'data')
    torch.save(dict(state_dict={'a': torch.zeros(1)}), tmp_path / 'x.pth')
    argv = [config, str(tmp_path / 'x.pth'), '--work-dir', str(tmp_path / 'out')]
    assert run_tool('test', *argv, log=tmp_path / 'log') == 1
    assert "not one of this config's model" in (tmp_path / 'log').read_text()


def test_pretrained_backbone_is_taken_whole_or_refused(tmp_path):
    write_classes(tmp_path / 'data')
    options = {'model.backbone.frozen_stages': 4, 'train_cfg.max_epochs': 1}
    config = write_classifier(tmp_path / 'linear.py', tmp_path / 'data', **options)
    log, out = tmp_path / 'log', tmp_path / 'out'

    def train(depth, *argv):
        backbone = MODELS.build(dict(BACKBONE, depth=depth))
        weights = {f'backbone.{n}': x for n, x in backbone.state_dict().items()}
        torch.save(dict(state_dict=weights), tmp_path / 'pre.pth')
        argv = [config, '--pretrained', str(tmp_path / 'pre.pth'), *argv]
        return weights, run_tool('train', *argv, '--work-dir', str(out), log=log)

    weights, code = train(18)
    assert code == 0, log.read_text()
    trained = torch.load(out / 'epoch_1.pth', weights_only=True)['state_dict']
    for name, x in weights.items():
        assert torch.equal(trained[name], x), name
    # a run that goes on needs the pretrained file no more
    (tmp_path / 'pre.pth').unlink()
    argv = [config, '--work-dir', str(out), '--resume']
    argv += ['--cfg-options', 'train_cfg.max_epochs=2']
    assert run_tool('train', *argv, log=log) == 0, log.read_text()
    for refused in (train(34), train(18, '--prefix', 'encoder.')):
        assert refused[1] == 1
    errors = [x for x in log.read_text().splitlines() if x.startswith('error: ')]
    assert 'same kind and depth' in errors[0]
    assert "--prefix 'backbone.'" in errors[1]
