# MMPretrain's MoCo v2 on a folder of images, at any depth, without any annotation:
# ResNet-18, 224 px, one GPU, 256 images per step. The baseline of
# accel-mocov2_r18_folder.py; a folder should hold several times `queue_len` images.
_base_ = 'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'

data_root = 'data/images/'

model = dict(
    queue_len=4096,
    momentum=0.01,
    backbone=dict(depth=18),
    neck=dict(in_channels=512, hid_channels=512),
)

train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        _delete_=True,
        type='UnlabelledFolder',
        data_root=data_root,
        pipeline=_base_.train_pipeline,
    ),
)

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)
env_cfg = dict(cudnn_benchmark=True)
