# Accel-MoCo v2 on Fashion-MNIST with the losses of all stages up to the exit: a little
# more work a step than the single loss of the paper, better features for it.
_base_ = './accel-mocov2_r18_fashion-mnist.py'

model = dict(supervision='cumulative')
