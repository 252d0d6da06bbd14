# MoCo v2 on Fashion-MNIST: the last loss in every update, no windows, first stages frozen
# late in training. Of what the study tried it keeps the most accuracy, and saves a tenth
# of the time (docs/study/report.md: 16 epochs of CIFAR-10 in a narrow network, another
# recipe than this one).
_base_ = ['./accel-mocov2_r18_fashion-mnist.py', '../_base_/phases/freezing.py']

model = dict(crop_layer=None)
custom_hooks = [
    dict(type='PartialBackpropHook', exit_probs=(0, 0, 0, 1), phases=_base_.freezing)
]
