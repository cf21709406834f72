"""The public functions: PyTorch's arguments and meaning on JAX arrays."""

from jaxconv._lowering.select import algorithms as algorithms
from jaxconv._ops.convolution import conv1d as conv1d
from jaxconv._ops.convolution import conv1d_input as conv1d_input
from jaxconv._ops.convolution import conv1d_weight as conv1d_weight
from jaxconv._ops.convolution import conv2d as conv2d
from jaxconv._ops.convolution import conv2d_input as conv2d_input
from jaxconv._ops.convolution import conv2d_weight as conv2d_weight
from jaxconv._ops.convolution import conv3d as conv3d
from jaxconv._ops.convolution import conv3d_input as conv3d_input
from jaxconv._ops.convolution import conv3d_weight as conv3d_weight
from jaxconv._ops.convolution import conv_transpose1d as conv_transpose1d
from jaxconv._ops.convolution import conv_transpose2d as conv_transpose2d
from jaxconv._ops.convolution import conv_transpose3d as conv_transpose3d
from jaxconv._ops.padding import pad as pad
from jaxconv._ops.patches import fold as fold
from jaxconv._ops.patches import unfold as unfold
from jaxconv._ops.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from jaxconv._ops.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from jaxconv._ops.pooling import adaptive_avg_pool3d as adaptive_avg_pool3d
from jaxconv._ops.pooling import avg_pool1d as avg_pool1d
from jaxconv._ops.pooling import avg_pool2d as avg_pool2d
from jaxconv._ops.pooling import avg_pool3d as avg_pool3d
from jaxconv._ops.pooling import max_pool1d as max_pool1d
from jaxconv._ops.pooling import max_pool2d as max_pool2d
from jaxconv._ops.pooling import max_pool3d as max_pool3d
