# Accel-MoCo v2 on a folder of images without any annotation:
#
#   python tools/train.py configs/small/accel-mocov2_r18_folder.py \
#       --cfg-options train_dataloader.dataset.data_root=/path/to/images
_base_ = ['./mocov2_r18_folder.py', '../../_base_/accel.py']
baseline = 'configs/mmpretrain/small/mocov2_r18_folder.py'

model = dict(
    type='AccelMoCo',
    channels_last=True,
    neck=dict(type='IntermediateNeck', in_channels=(64, 128, 256, 512)),
    head=dict(type='AccelContrastiveHead'),
    crop_layer=dict(type='HardPairCropLayer'),
)
