# Accel-MoCo v2 on Fashion-MNIST with the losses of all stages up to the exit: a little more
# work a step than the paper's single loss, better features for it.
_base_ = './accel-mocov2_r18_fashion-mnist.py'

model = dict(supervision='cumulative')
