# The baseline of tools/quickstart.sh: minutes on two CPU cores instead of an accuracy
# worth quoting. A quarter of the channels, a sixth of the images, few epochs.
_base_ = './mocov2_r18_fashion-mnist.py'

model = dict(
    # 8 steps of keys: with an encoder that learns this fast, older ones are easy
    queue_len=512,
    backbone=dict(base_channels=16, stem_channels=16),
    neck=dict(in_channels=128, hid_channels=128),
)

train_dataloader = dict(batch_size=64, num_workers=1, dataset=dict(indices=10000))

default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
    knn=dict(interval=2, k=20, max_train=5000, max_test=2000),
)
log_processor = dict(window_size=25)
