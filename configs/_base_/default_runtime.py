# Upstream's runtime plus what this package shows while it trains: TensorBoard, the
# compact log line and the training clock. It takes the place of
# `selfsup/_base_/default_runtime.py` in a list of bases, exactly as upstream's own
# configs are built:
#
#     _base_ = [
#         'mmselfsup::selfsup/_base_/models/mocov2.py',
#         'mmselfsup::selfsup/_base_/datasets/imagenet_mocov2.py',
#         'mmselfsup::selfsup/_base_/schedules/sgd_coslr-200e_in1k.py',
#         '../_base_/default_runtime.py',
#     ]
#
# mmengine forbids the same key in two bases of one list, so it cannot stand beside a
# complete upstream config; a child of such a config repeats the lines it wants.
_base_ = 'mmselfsup::selfsup/_base_/default_runtime.py'

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)

# each convolution sees one shape per size of views, whatever the exit
# (randomness.deterministic=True switches it off)
env_cfg = dict(cudnn_benchmark=True)

default_hooks = dict(
    throughput=dict(type='ThroughputHook'),
    logger=dict(interval=50),
    checkpoint=dict(interval=10, max_keep_ckpts=3),
)

# a line covers the 50 iterations since the line before it
log_processor = dict(_delete_=True, type='AccelLogProcessor', window_size=50)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(vis_backends=vis_backends)
