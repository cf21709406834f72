import torch
from torch import nn
from torch.nn.functional import interpolate


class Bottleneck(nn.Module):
    def __init__(self, inplanes, planes, stride, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + identity)


class Backbone(nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.inplanes, self.dilation = width, 1
        self.layer1 = self._make_layer(width, layers[0], 1, False)
        self.layer2 = self._make_layer(2 * width, layers[1], 2, False)
        self.layer3 = self._make_layer(4 * width, layers[2], 2, True)
        self.layer4 = self._make_layer(8 * width, layers[3], 2, True)

    def _make_layer(self, planes, blocks, stride, dilate):
        previous = self.dilation
        if dilate:
            self.dilation *= stride
            stride = 1
        downsample = None
        if stride != 1 or self.inplanes != 4 * planes:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )
        first = Bottleneck(self.inplanes, planes, stride, previous, downsample)
        self.inplanes = 4 * planes
        rest = [Bottleneck(self.inplanes, planes, 1, self.dilation, None) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class ASPPPooling(nn.Sequential):
    def __init__(self, inp, out, align_corners):
        super().__init__(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        )
        self.align_corners = align_corners

    def forward(self, x):
        return interpolate(super().forward(x), size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)


class ASPP(nn.Module):
    def __init__(self, inp, rates, out, dropout, align_corners):
        super().__init__()
        branches = [nn.Sequential(nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())]
        for rate in rates:
            conv = nn.Conv2d(inp, out, 3, padding=rate, dilation=rate, bias=False)
            branches.append(nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU()))
        self.convs = nn.ModuleList([*branches, ASPPPooling(inp, out, align_corners)])
        self.project = nn.Sequential(
            nn.Conv2d(len(self.convs) * out, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.Dropout(dropout)
        )

    def forward(self, x):
        return self.project(torch.cat([conv(x) for conv in self.convs], dim=1))


class DeepLabV3(nn.Module):
    def __init__(self, num_classes, *, width, layers, rates, head, dropout, align_corners):
        super().__init__()
        self.align_corners = align_corners
        self.backbone = Backbone(layers, width)
        self.classifier = nn.Sequential(
            ASPP(32 * width, rates, head, dropout, align_corners),
            nn.Conv2d(head, head, 3, padding=1, bias=False),
            nn.BatchNorm2d(head),
            nn.ReLU(),
            nn.Conv2d(head, num_classes, 1),
        )

    def forward(self, x):
        out = self.classifier(self.backbone(x))
        return interpolate(out, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)
