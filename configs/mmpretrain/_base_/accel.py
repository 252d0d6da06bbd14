# What makes a config of MMPretrain accelerated, beside its model. It stands beside a
# config without `custom_hooks`, `model_wrapper_cfg` and `custom_imports`.
_base_ = '../../_base_/accel.py'

custom_imports = dict(imports=['mmaccel'], allow_failed_imports=False)
