"""Cases of the methods on transformers: hidden states, attention, relations."""

import math

import torch
from method_proofs import Case, Draw, Inputs, changed
from plain_vectors import dot, kl, softmax, unit
from torch import Tensor

# --- plain pieces -----------------------------------------------------------------------------------------------------


def valid_positions(mask: Tensor) -> list[list[int]]:
    return [[i for i, there in enumerate(row) if there] for row in mask.tolist()]


def score(queries, keys, heads: int, head: int, i: int, j: int) -> float:
    """Of one text's queries and keys, (T, H) each."""
    width = len(queries[0]) // heads
    part = slice(head * width, (head + 1) * width)
    return dot(queries[i][part], keys[j][part]) / math.sqrt(width)


def mean_divergence(ours, theirs, mask: Tensor, heads: int) -> float:
    """KL(teacher, student) of the softmax of scores, over heads and valid positions; a pair of (B, T, H) each."""
    (q, k), (tq, tk) = ([each.tolist() for each in pair] for pair in (ours, theirs))
    terms = []
    for b, valid in enumerate(valid_positions(mask)):
        for h in range(heads):
            for i in valid:
                p = softmax([score(tq[b], tk[b], heads, h, i, j) for j in valid])
                s = softmax([score(q[b], k[b], heads, h, i, j) for j in valid])
                terms.append(kl(p, s))
    return sum(terms) / len(terms)


# --- methods ----------------------------------------------------------------------------------------------------------


def plain_tinybert_hidden(student_hidden, teacher_hidden, mask, own) -> float:
    means = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        s, t = student.tolist(), teacher.tolist()
        if student.shape[-1] != teacher.shape[-1]:
            layer = own[f"{student.shape[-1]}-{teacher.shape[-1]}"]
            weight, bias = layer.weight.tolist(), layer.bias.tolist()
            s = [
                [[dot(row, state) + shift for row, shift in zip(weight, bias, strict=True)] for state in text]
                for text in s
            ]
        terms = [
            (x - y) ** 2
            for b, valid in enumerate(valid_positions(mask))
            for i in valid
            for x, y in zip(s[b][i], t[b][i], strict=True)
        ]
        means.append(sum(terms) / len(terms))
    return sum(means) / len(means)


def plain_tinybert_attention(student_hidden, teacher_hidden, mask, heads) -> float:
    means = []
    for layer in range(0, len(student_hidden), 2):
        q, k, tq, tk = (side[i].tolist() for side in (student_hidden, teacher_hidden) for i in (layer, layer + 1))
        terms = [
            (score(q[b], k[b], heads, h, i, j) - score(tq[b], tk[b], heads, h, i, j)) ** 2
            for b, valid in enumerate(valid_positions(mask))
            for h in range(heads)
            for i in valid
            for j in valid
        ]
        means.append(sum(terms) / len(terms))
    return sum(means) / len(means)


def plain_minilm(student_hidden, teacher_hidden, mask, heads) -> float:
    (q, k, v), (tq, tk, tv) = student_hidden, teacher_hidden
    attention = mean_divergence((q, k), (tq, tk), mask, heads)
    return attention + mean_divergence((v, v), (tv, tv), mask, heads)


def plain_minilmv2(student_hidden, teacher_hidden, mask, heads) -> float:
    means = [mean_divergence((s, s), (t, t), mask, heads) for s, t in zip(student_hidden, teacher_hidden, strict=True)]
    return sum(means) / len(means)


def plain_distilbert(student_hidden, teacher_hidden, mask) -> float:
    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        s, t = student.tolist(), teacher.tolist()
        terms = [1 - dot(unit(s[b][i]), unit(t[b][i])) for b, valid in enumerate(valid_positions(mask)) for i in valid]
        total += sum(terms) / len(terms)
    return total


def plain_pkd(student_hidden, teacher_hidden) -> float:
    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
            x, y = unit(ours[0]), unit(theirs[0])
            total += sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / len(student)
    return total


# --- cases ------------------------------------------------------------------------------------------------------------


def states(*widths: tuple[int, int], masked: bool = True):
    """Pairs of widths, of the student's and of the teacher's states (B, 4, H)."""

    def make(draw: Draw, B: int) -> Inputs:
        inputs: Inputs = {
            "student_hidden": [draw.normal(B, 4, ours) for ours, _ in widths],
            "teacher_hidden": [draw.normal(B, 4, theirs) for _, theirs in widths],
        }
        return inputs | {"mask": draw.mask(B, 4)} if masked else inputs

    return make


def lengths(inputs: Inputs) -> Inputs:
    """Each state has another length, and the same direction."""
    draw = Draw(3)

    def stretch(tensor: Tensor) -> Tensor:
        return tensor * (draw.normal(*tensor.shape[:2], 1).abs() + 0.1)

    return changed(changed(inputs, stretch, "student_hidden"), stretch, "teacher_hidden")


def later_tokens(inputs: Inputs) -> Inputs:
    def change(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[:, :1], tensor[:, 1:] + 7], dim=1)

    return changed(inputs, change, "student_hidden", "teacher_hidden")


def turned(inputs: Inputs) -> Inputs:
    """The student's features in each of two heads of two, in another order."""
    return changed(inputs, lambda tensor: tensor[..., [1, 0, 3, 2]], "student_hidden")


CASES = [
    Case("tinybert_hidden", states((3, 3), (5, 5)), plain_tinybert_hidden, zero=True),
    Case("tinybert_hidden", states((2, 3), (3, 3), (2, 3)), plain_tinybert_hidden, note="widths"),
    Case("tinybert_attention", states((4, 4), (4, 4)), plain_tinybert_attention, {"heads": 2}, zero=True,
         same={"the order of a head's features": turned}),
    Case("tinybert_attention", states(*[(4, 6)] * 4), plain_tinybert_attention, {"heads": 2}, note="layers"),
    Case("minilm", states((4, 4), (4, 4), (4, 4)), plain_minilm, {"heads": 2}, zero=True,
         same={"the order of a head's features": turned}),
    Case("minilm", states((3, 6), (3, 6), (3, 6)), plain_minilm, {"heads": 3}, note="widths"),
    Case("minilmv2", states((4, 4), (4, 4)), plain_minilmv2, {"heads": 2}, zero=True,
         same={"the order of a head's features": turned}),
    Case("minilmv2", states((4, 8), (4, 8), (4, 8)), plain_minilmv2, {"heads": 1}, note="widths"),
    Case("distilbert", states((3, 3), (5, 5)), plain_distilbert, zero=True, same={"lengths": lengths}),
    Case("pkd", states((3, 3), (5, 5), masked=False), plain_pkd, zero=True,
         same={"lengths": lengths, "all tokens but the first": later_tokens}),
]  # fmt: skip
