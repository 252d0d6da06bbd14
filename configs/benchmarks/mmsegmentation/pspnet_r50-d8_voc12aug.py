# PSPNet on VOC12 train + SBD (10,582 images), evaluated on VOC12 val (1,449): Table 2,
# backbone not frozen. Optimizer of the paper's code base, the rest is mmseg's.
_base_ = [
    'mmseg::_base_/models/pspnet_r50-d8.py',
    # train.txt with VOC's masks and aug.txt, SBD's images that neither train.txt nor
    # val.txt names: 1,464 + 9,118
    'mmseg::_base_/datasets/pascal_voc12_aug.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_40k.py',
]

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        type='ResNet',  # V1c's deep stem is in no checkpoint of a plain ResNet
        out_indices=(2, 3),  # what the heads read, so that every layer gets gradient
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(type='ExtraNorm', in_channels=(1024, 2048), norm_cfg=norm_cfg),
    decode_head=dict(in_index=1, num_classes=21),
    auxiliary_head=dict(in_index=0, num_classes=21),
)

# the paper's code base trains the backbone at a tenth of the heads' rate
optim_wrapper = dict(
    optimizer=dict(lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
custom_hooks = [
    dict(
        type='ResultHook',
        task='segmentation',
        dataset='VOC12Aug',
        protocol='PSPNet, {train_cfg.max_iters} iterations of {total_batch} crops, '
        'whole images at one scale',
        metrics=dict(mIoU='mIoU', aAcc='aAcc'),
        frozen=False,
    )
]

auto_scale_lr = dict(enable=False, base_batch_size=16)  # 4 GPUs x 4 images
