"""The hosts' head of a C4 detector with a norm of its own, registered in MMDetection.

Detection configs import this module: both hosts have the class under the same name.
"""

from mmaccel import host

ResLayerExtraNorm = (
    host.installed()[0].module('models.utils.res_layer_extra_norm').ResLayerExtraNorm
)
