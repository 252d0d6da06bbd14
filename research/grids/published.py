# The baseline beside a published curve, the MoCo authors' CIFAR-10 demo: its network,
# linear projector, crops, batch and learning rate, which its cosine of 200 epochs
# hardly lowers in the first few. A CPU core takes twenty minutes an epoch.
_base_ = './variants.py'

_monitor = 'default_hooks.knn.'
_crop = 'train_dataloader.dataset.pipeline.0.transforms.0.0.'

common = dict(
    amp='bf16',
    evaluate_on=['test'],
    options={
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'param_scheduler': [],
        'default_hooks.throughput.clock': 'cpu',
        'default_hooks.checkpoint.interval': 1,
        _monitor + 'interval': 1,
        _monitor + 'max_train': 10000,
        _monitor + 'train_dataloader.num_workers': 0,
        _monitor + 'test_dataloader.num_workers': 0,
    },
)
variants = {
    'baseline-as-published': {
        'model.neck': dict(
            _delete_=True,
            type='LinearNeck',
            in_channels=512,
            out_channels=128,
            with_avg_pool=True,
        ),
        _crop + 'scale': (0.08, 1.0),
    }
}
runs = [dict(methods=['mocov2'], variants=['baseline-as-published'], epochs=[2])]
