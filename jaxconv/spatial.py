"""The functions for blocks of images: for code within a `jax.shard_map`, where each device has a part of an image.

Under `jax.jit` none of this is needed: the functions of `jaxconv` compute divided images in parts by themselves.
"""

from jaxconv._ops.spatial import avg_pool1d as avg_pool1d
from jaxconv._ops.spatial import avg_pool2d as avg_pool2d
from jaxconv._ops.spatial import avg_pool3d as avg_pool3d
from jaxconv._ops.spatial import conv1d as conv1d
from jaxconv._ops.spatial import conv2d as conv2d
from jaxconv._ops.spatial import conv3d as conv3d
from jaxconv._ops.spatial import conv_transpose1d as conv_transpose1d
from jaxconv._ops.spatial import conv_transpose2d as conv_transpose2d
from jaxconv._ops.spatial import conv_transpose3d as conv_transpose3d
from jaxconv._ops.spatial import halo as halo
from jaxconv._ops.spatial import max_pool1d as max_pool1d
from jaxconv._ops.spatial import max_pool2d as max_pool2d
from jaxconv._ops.spatial import max_pool3d as max_pool3d
