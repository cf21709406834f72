"""Ported networks explained, against what hooks on their twins in PyTorch see and what PyTorch counts."""

import os
from collections import defaultdict

import numpy as np
import pytest
import torch
from flax import nnx
from ports import PORTS, as_ours, network
from torch.utils.flop_counter import FlopCounterMode

import jaxconv

NAMES = tuple(PORTS) if "JAXCONV_ALL" in os.environ else ("vgg", "unet", "hifigan")


def seen_by_hooks(module, inputs):
    """The shapes that each layer gives, by its name, and how many products all take."""
    shapes = defaultdict(list)
    for name, layer in module.named_modules():
        if all(child == "parametrizations" for child, _ in layer.named_children()):
            layer.register_forward_hook(lambda _, __, out, name=name: shapes[name].append(tuple(out.shape)))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*map(torch.from_numpy, inputs))
    return shapes, counter.get_total_flops() / 2


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_products_are_those_of_pytorch(name):
    port = PORTS[name]
    module = network("twins", port)
    inputs = [np.zeros(shape, np.float32) for shape in port.shapes]
    given = [as_ours(port, x[None])[0].shape for x in inputs]
    explanation = jaxconv.explain(
        nnx.eval_shape(lambda: network("examples.ports", port, rngs=nnx.Rngs(0))), given, machine=(4e11, 2e10)
    )
    shapes, products = seen_by_hooks(module, inputs)
    found = defaultdict(list)
    for row in explanation.rows:
        shape = row.output_shape
        if shape is not None:
            last = port.flattened is not None and len(shape) == 4
            found[row.name].append((shape[0], shape[-1], *shape[1:-1]) if last else shape)
    with_parameters = {n for n, layer in module.named_modules() if [*layer.parameters()] and n in shapes}
    assert with_parameters <= set(found)
    both = found.keys() & shapes.keys()
    assert len(both) >= len(with_parameters)
    assert {layer: found[layer] for layer in both} == {layer: shapes[layer] for layer in both}
    assert explanation.multiply_accumulates == products
    assert explanation.parameters == sum(p.numel() for p in module.parameters())
