# The checkpoints whose gradients are measured (research/gradients.py): plain trainings
# whose exits learn beside them, after a quarter, half and all of 4 epochs.
_base_ = './cpu.py'

common = dict(
    options={
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
    }
)
variants = {
    'detached-exits': {
        'model.crop_layer': None,
        'model.loss_on': 'cumulative',
        'custom_hooks': [
            dict(
                type='PartialBackpropHook',
                measure_interval=0,
                exit_probs=(0, 0, 0, 1),
            ),
            dict(type='DetachedExitsHook'),
        ],
    }
}
runs = [dict(methods=['simclr', 'mocov2'], variants=['detached-exits'], epochs=[4])]
