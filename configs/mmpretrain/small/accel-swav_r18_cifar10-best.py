# SwAV on CIFAR-10: freezing is all that was measured with it (research/report.md).
_base_ = './accel-swav_r18_cifar10-freeze.py'
