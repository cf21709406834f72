"""The ported networks as PyTorch defines them, and the CNN of the training program."""

import torch
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    def __init__(self, num_classes=1000, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        sizes = [width, width, width * 2, width * 4, width * 8]
        for i in range(4):
            stage = nn.Sequential(
                BasicBlock(sizes[i], sizes[i + 1], 1 if i == 0 else 2), BasicBlock(sizes[i + 1], sizes[i + 1])
            )
            setattr(self, f"layer{i + 1}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width * 8, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def conv_norm_relu6(inp, out, kernel_size=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inp, out, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio):
        super().__init__()
        hidden = inp * expand_ratio
        self.use_res_connect = stride == 1 and inp == oup
        layers = [] if expand_ratio == 1 else [conv_norm_relu6(inp, hidden, kernel_size=1)]
        layers += [
            conv_norm_relu6(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, oup, 1, bias=False),
            nn.BatchNorm2d(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, num_classes, setting, stem, last, dropout):
        super().__init__()
        features = [conv_norm_relu6(3, stem, stride=2)]
        for t, c, n, s in setting:
            for i in range(n):
                features.append(InvertedResidual(stem, c, s if i == 0 else 1, t))
                stem = c
        features.append(conv_norm_relu6(stem, last, kernel_size=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def double_conv(inp, out):
    return nn.Sequential(nn.Conv2d(inp, out, 3, padding=1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, in_channels, num_classes, widths):
        super().__init__()
        sizes = [in_channels, *widths]
        self.down = nn.ModuleList([double_conv(a, b) for a, b in zip(sizes, widths, strict=False)])
        self.pool = nn.MaxPool2d(2)
        upward = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, kernel_size=2, stride=2) for a, b in upward])
        self.merge = nn.ModuleList([double_conv(2 * b, b) for _, b in upward])
        self.out = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x):
        across = []
        for block in self.down[:-1]:
            across.append(block(x))
            x = self.pool(across[-1])
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = across.pop()
            x = merge(torch.cat([skip, up(x, output_size=skip.shape[2:])], dim=1))
        return self.out(x)


class SeparableConv2d(nn.Module):
    def __init__(self, inp, out, dilation=1):
        super().__init__()
        self.depthwise = nn.Conv2d(inp, inp, 3, padding=dilation, dilation=dilation, groups=inp, bias=False)
        self.pointwise = nn.Conv2d(inp, out, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class XceptionBlock(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.sep1 = SeparableConv2d(inp, out)
        self.norm1 = nn.BatchNorm2d(out)
        self.sep2 = SeparableConv2d(out, out, dilation=2)
        self.norm2 = nn.BatchNorm2d(out)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.skip = nn.Conv2d(inp, out, 1, stride=2, bias=False)
        self.skip_norm = nn.BatchNorm2d(out)

    def forward(self, x):
        out = self.norm1(self.sep1(torch.relu(x)))
        out = self.norm2(self.sep2(torch.relu(out)))
        return self.pool(out) + self.skip_norm(self.skip(x))


class Xception(nn.Module):
    def __init__(self, num_classes, stem, widths):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.blocks = nn.ModuleList([XceptionBlock(a, b) for a, b in zip([stem, *widths], widths, strict=False)])
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(torch.relu(x).mean((2, 3)))


class VGG(nn.Module):
    def __init__(self, num_classes, setting, side, hidden, dropout):
        super().__init__()
        layers, channels = [], 3
        for entry in setting:
            if entry == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU(inplace=True)]
                channels = entry
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((side, side))
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class DigitsNetwork(nn.Module):
    """`examples.trainer.model.Classifier` with three convolutions, channels first."""

    def __init__(self, channels, kernel_size):
        super().__init__()
        first, second, third = channels
        self.conv1 = nn.Conv2d(1, first, kernel_size, padding="same")
        self.conv2 = nn.Conv2d(first, second, kernel_size, padding="same")
        self.conv3 = nn.Conv2d(second, third, kernel_size, padding="same")
        self.linear = nn.Linear(7 * 7 * third, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.conv3(x))
        return self.linear(torch.flatten(x, 1))
