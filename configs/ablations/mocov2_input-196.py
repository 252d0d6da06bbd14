# Table 10: upstream MoCo v2 on views of 196 px; 224 px is upstream's own config.
_base_ = './mocov2_input-128.py'

views = [dict(_base_.views[0], size=196), *_base_.views[1:]]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], transforms=[views]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
