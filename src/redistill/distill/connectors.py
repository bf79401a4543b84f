"""Layers that lead from the student's feature maps to the teacher's."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of (B, C, ...); where a channel has one value only, and no variance, by the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        flat = input.flatten(2) if input.ndim > 2 else input
        return super().forward(flat).reshape(input.shape)


def connector(inputs: int, outputs: int) -> nn.Sequential:
    """A 1 x 1 convolution and batch norm, as Heo et al. (arXiv:1811.03233, arXiv:1904.01866) start them."""
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / outputs))
    return nn.Sequential(convolution, BatchNorm(outputs))
