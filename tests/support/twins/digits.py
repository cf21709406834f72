import torch
from torch import nn


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
