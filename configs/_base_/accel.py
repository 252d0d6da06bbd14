# What makes a pretraining accelerated, beside its model: a hook that draws the stage at
# which each update exits, all with equal probability, and a wrapper for several
# processes that exchanges the gradients that there are, none after the exit. It stands
# beside any base without `custom_hooks`.
custom_hooks = [dict(type='PartialBackpropHook')]
model_wrapper_cfg = dict(type='StagewiseDataParallel')
