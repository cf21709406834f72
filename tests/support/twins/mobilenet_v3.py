from functools import partial

from torch import nn
from torch.nn.functional import relu6

from twins.parts import SqueezeExcitation, conv_norm

norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class Hardsigmoid(nn.Module):
    """`nn.Hardsigmoid`, whose own gradient has 1/6 as a float32, and so in float64 8 digits."""

    def forward(self, x):
        return relu6(x + 3) / 6


class InvertedResidual(nn.Module):
    def __init__(self, inp, kernel, expanded, out, use_se, activation, stride, squeezed):
        super().__init__()
        self.use_res_connect = stride == 1 and inp == out
        act = nn.Hardswish if activation == "HS" else nn.ReLU
        layers = []
        if expanded != inp:
            layers.append(conv_norm(inp, expanded, 1, activation=act, norm=norm))
        layers.append(conv_norm(expanded, expanded, kernel, stride, expanded, activation=act, norm=norm))
        if use_se:
            layers.append(SqueezeExcitation(expanded, squeezed, scale_activation=Hardsigmoid))
        layers.append(conv_norm(expanded, out, 1, activation=None, norm=norm))
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.block(x) if self.use_res_connect else self.block(x)


class MobileNetV3(nn.Module):
    def __init__(self, num_classes, *, setting, last, dropout, divisor):
        super().__init__()
        channels = setting[0][0]
        layers = [conv_norm(3, channels, stride=2, activation=nn.Hardswish, norm=norm)]
        for inp, kernel, expanded, out, use_se, activation, stride in setting:
            quarter = expanded // 4
            squeezed = max(divisor, (quarter + divisor // 2) // divisor * divisor)
            squeezed += divisor if squeezed < 0.9 * quarter else 0
            layers.append(InvertedResidual(inp, kernel, expanded, out, use_se, activation, stride, squeezed))
            channels = out
        layers.append(conv_norm(channels, 6 * channels, 1, activation=nn.Hardswish, norm=norm))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * channels, last), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(last, num_classes)
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
