"""A small pretraining config over a folder of generated images, for the tools."""

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from tests.builders import CROP, build, moco_config


def write_images(folder, number=24, size=40, seed=0):
    """Colourful JPEG files, every third one in a sub-folder."""
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(number):
        path = folder / (f'deep/{i % 2}' if i % 3 == 0 else '') / f'{i:03d}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((size, size), Image.BILINEAR).save(path)
        paths.append(path)
    return paths


def write_config(path, images, accel=False, epochs=2, **overrides):
    """A config file: MoCo, batches of 4, two loader workers, 32 px views."""
    views = [
        dict(type='RandomResizedCrop', size=32, scale=(0.3, 1.0), backend='pillow'),
        dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        dict(type='RandomFlip', prob=0.5),
    ]
    model = moco_config(accel, **(dict(crop_layer=dict(CROP)) if accel else {}))
    model['data_preprocessor'] = dict(
        mean=(124.0, 116.0, 104.0), std=(58.0, 57.0, 57.0), bgr_to_rgb=True
    )
    cfg = dict(
        default_scope='mmselfsup',
        custom_imports=dict(imports=['mmaccel'], allow_failed_imports=False),
        model=model,
        train_dataloader=dict(
            batch_size=4,
            num_workers=2,
            drop_last=True,
            persistent_workers=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='UnlabelledFolder',
                data_root=str(images),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='MultiView', num_views=2, transforms=[views]),
                    dict(type='PackSelfSupInputs', meta_keys=['img_path']),
                ],
            ),
        ),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4),
        ),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True)],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=2),
            checkpoint=dict(type='CheckpointHook', interval=1),
        ),
        custom_hooks=[],
        # a name of its own: mmengine shares visualizers of one name in a process
        visualizer=dict(
            type='SelfSupVisualizer',
            name=str(path),
            vis_backends=[dict(type='LocalVisBackend')],
        ),
    )
    if accel:
        cfg['custom_hooks'] = [dict(type='PartialBackpropHook')]
        cfg['model_wrapper_cfg'] = dict(type='mmselfsup.StagewiseDataParallel')
    cfg = Config(cfg)
    cfg.merge_from_dict(overrides)
    cfg.dump(str(path))
    return str(path)


def write_trained(folder, images, accel=False):
    """The config ``cfg.py`` and ``epoch_1.pth``, a checkpoint of its model."""
    config = write_config(folder / 'cfg.py', images, accel)
    model = build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_1.pth')
    return folder
