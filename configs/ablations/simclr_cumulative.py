# Not in the paper: the losses of the stages before the exit are added.
_base_ = '../accel/simclr_r50_8xb32.py'

model = dict(loss_on='cumulative')
