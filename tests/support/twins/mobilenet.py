from functools import partial

from torch import nn

from twins import parts

conv_norm = partial(parts.conv_norm, activation=nn.ReLU6)


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio):
        super().__init__()
        hidden = inp * expand_ratio
        self.use_res_connect = stride == 1 and inp == oup
        layers = [] if expand_ratio == 1 else [conv_norm(inp, hidden, 1)]
        layers += [
            conv_norm(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, oup, 1, bias=False),
            nn.BatchNorm2d(oup),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, num_classes, setting, stem, last, dropout):
        super().__init__()
        features = [conv_norm(3, stem, stride=2)]
        for t, c, n, s in setting:
            for i in range(n):
                features.append(InvertedResidual(stem, c, s if i == 0 else 1, t))
                stem = c
        features.append(conv_norm(stem, last, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))
