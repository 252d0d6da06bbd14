# What the small sets share: 512 images per step, and a kNN monitor every five epochs.
train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
knn_monitor = dict(type='KNNHook', interval=5)
