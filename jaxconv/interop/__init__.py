"""PyTorch's weights in and out of Flax modules: its names, its layouts, and nothing loaded by halves."""

from jaxconv.interop.api import linen_from_state_dict as linen_from_state_dict
from jaxconv.interop.api import linen_state_dict as linen_state_dict
from jaxconv.interop.api import load_state_dict as load_state_dict
from jaxconv.interop.api import save_safetensors as save_safetensors
from jaxconv.interop.api import state_dict as state_dict
from jaxconv.interop.report import LoadReport as LoadReport

__all__ = [
    "LoadReport",
    "linen_from_state_dict",
    "linen_state_dict",
    "load_state_dict",
    "save_safetensors",
    "state_dict",
]
