# Accel-MoCo v2 on CIFAR-10 with the losses of all stages up to the exit: a little
# more work a step than the single loss of the paper, better features for it.
_base_ = './accel-mocov2_r18_cifar10.py'

model = dict(supervision='cumulative')
