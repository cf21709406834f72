"""Convolution for JAX with PyTorch's meaning."""

from jaxconv.functional import conv2d as conv2d
