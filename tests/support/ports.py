"""The ports in `examples/ports/`, each beside its twin in PyTorch: narrow, with small inputs."""

import importlib
from typing import Any, NamedTuple

import numpy as np


class Port(NamedTuple):
    file: str  # in examples/ports/ and in tests/support/twins/
    network: str
    shapes: tuple  # of its inputs
    arguments: dict  # narrow, and without what is random
    flattened: dict | None = None


PORTS = {
    "resnet": Port("resnet", "ResNet18", ((6, 3, 64, 48),), {"num_classes": 5, "width": 4}),
    "mobilenet": Port(
        "mobilenet",
        "MobileNetV2",
        ((6, 3, 17, 16),),
        {
            "num_classes": 5,
            "setting": ((1, 4, 1, 1), (3, 4, 2, 2), (3, 6, 2, 1)),
            "stem": 4,
            "last": 12,
            "dropout": 0.0,
        },
    ),
    "unet": Port("unet", "UNet", ((2, 2, 13, 18),), {"in_channels": 2, "num_classes": 3, "widths": (4, 6, 8)}),
    "xception": Port("xception", "Xception", ((6, 3, 29, 32),), {"num_classes": 5, "stem": 4, "widths": (6, 8)}),
    "vgg": Port(
        "vgg",
        "VGG",
        ((4, 3, 12, 16),),
        {"num_classes": 5, "setting": (4, "M", 6, 6, "M"), "side": 3, "hidden": 8, "dropout": 0.0},
        {"classifier.0": (6, 3, 3)},
    ),
    "mobilenet_v3": Port(
        "mobilenet_v3",
        "MobileNetV3",
        ((4, 3, 21, 18),),
        {
            "num_classes": 5,
            "setting": ((8, 3, 8, 8, True, "RE", 2), (8, 5, 20, 10, True, "HS", 1), (10, 3, 24, 10, False, "HS", 1)),
            "last": 12,
            "dropout": 0.0,
            "divisor": 2,
        },
    ),
    "efficientnet": Port(
        "efficientnet",
        "EfficientNet",
        ((4, 3, 21, 18),),
        {
            "num_classes": 5,
            "setting": ((1, 3, 1, 8, 6, 1), (3, 5, 2, 6, 8, 2)),
            "last": 12,
            "stochastic_depth": 0.0,
            "dropout": 0.0,
        },
    ),
    "convnext": Port(
        "convnext",
        "ConvNeXt",
        ((3, 3, 33, 26),),
        {"num_classes": 5, "setting": ((6, 1), (8, 2)), "layer_scale": 0.5, "stochastic_depth": 0.0},
    ),
    "densenet": Port(
        "densenet",
        "DenseNet",
        ((4, 3, 36, 29),),
        {"num_classes": 5, "growth_rate": 3, "block_config": (2, 2), "num_init_features": 6, "bn_size": 2},
    ),
    "deeplab": Port(
        "deeplab",
        "DeepLabV3",
        ((5, 3, 41, 34),),
        {
            "num_classes": 3,
            "width": 2,
            "layers": (1, 1, 1, 1),
            "rates": (1, 2),
            "head": 6,
            "dropout": 0.0,
            "align_corners": True,
        },
    ),
    "cyclegan": Port(
        "cyclegan", "ResnetGenerator", ((2, 3, 20, 16),), {"input_nc": 3, "output_nc": 2, "ngf": 4, "n_blocks": 2}
    ),
    "esrgan": Port(
        "esrgan",
        "RRDBNet",
        ((2, 3, 7, 9),),
        {
            "num_in_ch": 3,
            "num_out_ch": 2,
            "scale": 4,
            "num_feat": 6,
            "num_block": 1,
            "num_grow_ch": 4,
            "shuffle": False,
        },
    ),
    "esrgan_shuffle": Port(
        "esrgan",
        "RRDBNet",
        ((2, 3, 10, 14),),
        {"num_in_ch": 3, "num_out_ch": 2, "scale": 2, "num_feat": 6, "num_block": 1, "num_grow_ch": 4, "shuffle": True},
    ),
    "unet_bilinear": Port(
        "unet_bilinear", "UNet", ((3, 3, 19, 22),), {"n_channels": 3, "n_classes": 2, "width": 4, "depth": 2}
    ),
    "unet3d": Port(
        "unet3d",
        "UNet3D",
        ((2, 2, 7, 9, 10),),
        {"in_channels": 2, "out_channels": 3, "f_maps": (4, 8), "num_groups": 4},
    ),
    "hifigan": Port(
        "hifigan",
        "Generator",
        ((2, 5, 11),),
        {
            "mels": 5,
            "channels": 8,
            "upsample_rates": (3, 2),
            "upsample_kernel_sizes": (7, 4),
            "resblock_kernel_sizes": (3, 5),
            "dilations": ((1, 3), (1, 2)),
        },
    ),
    "yolo": Port("yolo", "Neck", ((4, 4, 12, 16), (4, 6, 6, 8), (4, 8, 3, 4)), {"widths": (4, 6, 8), "n": 1}),
    "r2plus1d": Port(
        "r2plus1d", "VideoResNet", ((3, 3, 5, 20, 18),), {"num_classes": 5, "width": 4, "stem": 5, "layers": (1, 1)}
    ),
}


def network(package: str, port: Port, **more: Any) -> Any:
    """The port, or its twin."""
    return getattr(importlib.import_module(f"{package}.{port.file}"), port.network)(**port.arguments, **more)


def as_ours(port, x):
    """The batches of images in the layout that the port takes."""
    return np.moveaxis(x, 2, -1) if port.flattened else x
