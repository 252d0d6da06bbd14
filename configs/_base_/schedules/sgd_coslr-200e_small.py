# One GPU, 512 images per step: the learning rate and weight decay of the MoCo authors'
# CIFAR-10 demo. Other lengths change the three numbers of epochs together.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.06, weight_decay=5e-4, momentum=0.9),
)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=200, by_epoch=True, begin=0, end=200)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200)

# `--auto-scale-lr` scales the learning rate to the actual total batch
auto_scale_lr = dict(base_batch_size=512)
