# Accel-MoCo v2, 800 epochs (paper, Tables 1 to 3).
_base_ = './mocov2_r50_8xb32.py'

max_epochs = 800
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        by_epoch=True,
        begin=0,
        end=max_epochs,
    )
]
