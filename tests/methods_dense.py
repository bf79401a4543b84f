"""Cases of what a segmenter's recipe needs beside the methods: its second head, and how large factors are."""

import math

from method_proofs import Case, Draw, Inputs
from plain_vectors import softmax

H, W, CLASSES = 4, 6, 3


def head(draw: Draw, B: int) -> Inputs:
    """A head at half the image's sides; some pixels have no class."""
    labels = draw.classes(B * H * W, CLASSES + 1) - 1
    return {
        "student_hidden": [draw.normal(B, CLASSES, H // 2, W // 2), draw.normal(B, 2, H, W)],
        "labels": labels,
    }


def enlarged(channel, i: int, j: int) -> float:
    """A channel of half the sides at a pixel: pixels are squares, whose middles are where values are known."""

    def around(x: float, size: int) -> tuple[int, int, float]:
        at = max((x + 0.5) / 2 - 0.5, 0.0)
        low = int(at)
        return low, min(low + 1, size - 1), at - low

    (top, bottom, down), (left, right, across) = around(i, len(channel)), around(j, len(channel[0]))
    rows = [channel[row][left] * (1 - across) + channel[row][right] * across for row in (top, bottom)]
    return rows[0] * (1 - down) + rows[1] * down


def plain_second_head(student_hidden, labels) -> float:
    said, total, counted = student_hidden[0].tolist(), 0.0, 0
    for b, image in enumerate(said):
        for i in range(H):
            for j in range(W):
                label = int(labels[(b * H + i) * W + j])
                if label >= 0:
                    total -= math.log(softmax([enlarged(channel, i, j) for channel in image])[label])
                    counted += 1
    return total / max(counted, 1)


def factors(draw: Draw, B: int) -> Inputs:
    return {"teacher_hidden": [draw.normal(B, 2, 3, 2), draw.normal(B, 4)]}


def plain_norm(teacher_hidden, p) -> float:
    return sum(sum(abs(x) ** p for x in tensor.flatten().tolist()) ** (1 / p) for tensor in teacher_hidden)


CASES = [
    Case("second_head", head, plain_second_head, permutes=False),  # labels are pixels: no example is one of them
    Case("norm", factors, plain_norm),
    Case("norm", factors, plain_norm, {"p": 2}),
]
