"""Similarity-preserving knowledge distillation (Tung and Mori 2019, arXiv:1907.09682).

Usage::

    similarities: {method: spkd, weight: 3000, taps: {student: [layer3], teacher: [layer3]}}
"""

import torch
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import Anything
from redistill.distill.precision import wide


def spkd(student_hidden: Anything, teacher_hidden: Anything) -> Tensor:
    """|G_t - G_s|^2 / B^2, summed over the pairs of taps.

    G (B, B) holds the inner products of the examples' activations, all numbers of an example in one vector; each row of
    it is divided by its Euclidean length. The weight is 3000 in RepDistiller's script for CIFAR-100, and 1 in
    torchdistill's configuration for ImageNet.

    Args:
        student_hidden: activations (B, ...), one a tap: feature maps, or what is pooled. Of texts, tap what is pooled:
            padding would count.
        teacher_hidden: as many; they may be of other shapes.

    Deviation: torchdistill divides each row by the sum of its absolute values, for the second argument of the function
    that it calls is the norm's order and not the dimension; the paper and RepDistiller divide by the Euclidean length.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        difference = similarities(teacher) - similarities(student)
        terms.append(difference.square().mean())
    return torch.stack(terms).sum()


def similarities(activations: Tensor) -> Tensor:
    """Inner products (B, B) of activations (B, ...), in rows of length one."""
    flat = wide(activations.flatten(1))
    return unit(flat @ flat.T, -1)
