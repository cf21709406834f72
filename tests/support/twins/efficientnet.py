from torch import nn

from twins.parts import SqueezeExcitation, StochasticDepth, conv_norm


class MBConv(nn.Module):
    def __init__(self, ratio, kernel, stride, inp, out, p):
        super().__init__()
        self.use_res_connect = stride == 1 and inp == out
        layers, expanded = [], inp * ratio
        if expanded != inp:
            layers.append(conv_norm(inp, expanded, 1, activation=nn.SiLU))
        layers += [
            conv_norm(expanded, expanded, kernel, stride, expanded, activation=nn.SiLU),
            SqueezeExcitation(expanded, max(1, inp // 4), activation=nn.SiLU),
            conv_norm(expanded, out, 1, activation=None),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(p)

    def forward(self, x):
        return self.stochastic_depth(self.block(x)) + x if self.use_res_connect else self.block(x)


class EfficientNet(nn.Module):
    def __init__(self, num_classes, *, setting, last, stochastic_depth, dropout):
        super().__init__()
        total, number = sum(row[-1] for row in setting), 0
        layers = [conv_norm(3, setting[0][3], stride=2, activation=nn.SiLU)]
        for ratio, kernel, stride, inp, out, repeats in setting:
            stage = []
            for i in range(repeats):
                p = stochastic_depth * number / total
                stage.append(MBConv(ratio, kernel, stride if i == 0 else 1, inp if i == 0 else out, out, p))
                number += 1
            layers.append(nn.Sequential(*stage))
        layers.append(conv_norm(setting[-1][4], last, 1, activation=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
