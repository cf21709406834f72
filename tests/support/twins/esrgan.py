import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu, pixel_unshuffle


class ResidualDenseBlock(nn.Module):
    def __init__(self, num_feat, num_grow_ch):
        super().__init__()
        for i in range(4):
            setattr(self, f"conv{i + 1}", nn.Conv2d(num_feat + i * num_grow_ch, num_grow_ch, 3, 1, 1))
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, 1, 1)

    def forward(self, x):
        x1 = leaky_relu(self.conv1(x), 0.2)
        x2 = leaky_relu(self.conv2(torch.cat((x, x1), 1)), 0.2)
        x3 = leaky_relu(self.conv3(torch.cat((x, x1, x2), 1)), 0.2)
        x4 = leaky_relu(self.conv4(torch.cat((x, x1, x2, x3), 1)), 0.2)
        return self.conv5(torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x


class RRDB(nn.Module):
    def __init__(self, num_feat, num_grow_ch):
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    """With `shuffle`, the tail of BasicSR's MSRResNet in place of its own."""

    def __init__(self, num_in_ch, num_out_ch, *, scale, num_feat, num_block, num_grow_ch, shuffle):
        super().__init__()
        self.unshuffle = 4 // scale
        self.shuffle = shuffle
        self.conv_first = nn.Conv2d(num_in_ch * self.unshuffle**2, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        if shuffle:
            self.upconv1 = nn.Conv2d(num_feat, num_feat * 4, 3, 1, 1)
            self.upconv2 = nn.Conv2d(num_feat, num_feat * 4, 3, 1, 1)
            self.pixel_shuffle = nn.PixelShuffle(2)
        else:
            self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
            self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)

    def forward(self, x):
        if self.unshuffle > 1:
            x = pixel_unshuffle(x, self.unshuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        if self.shuffle:
            x = leaky_relu(self.pixel_shuffle(self.upconv1(x)), 0.2)
            x = leaky_relu(self.pixel_shuffle(self.upconv2(x)), 0.2)
        else:
            x = leaky_relu(self.conv_up1(interpolate(x, scale_factor=2, mode="nearest")), 0.2)
            x = leaky_relu(self.conv_up2(interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(leaky_relu(self.conv_hr(x), 0.2))
