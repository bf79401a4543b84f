"""Cases of the methods on features, second half: segmentation, masks, channels, singular vectors, distributions."""

import itertools
import math

import torch
from method_proofs import Case, Draw, Inputs, changed
from plain_vectors import dot, kl, softmax, unit
from torch import Tensor, nn

# --- plain pieces -----------------------------------------------------------------------------------------------------


def flat(channel: list[list[float]]) -> list[float]:
    return [x for row in channel for x in row]


def patch(channel, top: int, bottom: int, left: int, right: int) -> list[float]:
    return [x for row in channel[top:bottom] for x in row[left:right]]


def averaged(channel, rows: int, columns: int) -> list[list[float]]:
    """A channel brought down to fewer rows and columns, each the mean of those that it overlaps."""
    H, W = len(channel), len(channel[0])
    return [
        [
            (lambda values: sum(values) / len(values))(
                patch(channel, i * H // rows, -(-(i + 1) * H // rows), j * W // columns, -(-(j + 1) * W // columns))
            )
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def through(layer: nn.Module, maps: Tensor | list) -> list:
    """What is learned, through torch."""
    with torch.no_grad():
        return layer(torch.as_tensor(maps, dtype=torch.float64)).tolist()


# --- segmentation -----------------------------------------------------------------------------------------------------


def plain_pixel_wise(student_hidden, teacher_hidden) -> float:
    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        B, C, H, W = student.shape
        s, t = student.tolist(), teacher.tolist()
        for b in range(B):
            for i in range(H):
                for j in range(W):
                    p, q = (softmax([maps[b][c][i][j] for c in range(C)]) for maps in (t, s))
                    total += kl(p, q) / (B * H * W)
    return total


def plain_pairwise(student_hidden, teacher_hidden, scale, pool) -> float:
    def nodes(image) -> list[list[float]]:
        H, W = len(image[0]), len(image[0][0])
        h, w = max(int(H * scale), 1), max(int(W * scale), 1)
        take = max if pool == "max" else lambda values: sum(values) / len(values)
        return [
            unit([take(patch(channel, top, top + h, left, left + w)) for channel in image])
            for top in range(0, H, h)
            for left in range(0, W, w)
        ]

    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
            s, t = nodes(ours), nodes(theirs)
            terms = [(dot(s[i], s[j]) - dot(t[i], t[j])) ** 2 for i in range(len(s)) for j in range(len(s))]
            total += sum(terms) / len(terms) / len(student)
    return total


def plain_channel_wise(student_hidden, teacher_hidden, own, temperature) -> float:
    total = 0.0
    for student, teacher, align in zip(student_hidden, teacher_hidden, own, strict=True):
        aligned, B, C = through(align, student), len(teacher), teacher.shape[1]
        for b in range(B):
            for c in range(C):
                p, q = (softmax([x / temperature for x in flat(maps[b][c])]) for maps in (teacher.tolist(), aligned))
                total += temperature**2 / C * kl(p, q) / B
    return total


def maps(*pairs):
    """Pairs of (C, H, W), of the student and of the teacher."""

    def make(draw: Draw, B: int) -> Inputs:
        return {
            "student_hidden": [draw.normal(B, *ours) for ours, _ in pairs],
            "teacher_hidden": [draw.normal(B, *theirs) for _, theirs in pairs],
        }

    return make


def changes(change, *names: str):
    return lambda inputs: changed(inputs, change, *names)


def times(factor: float, name: str):
    return changes(lambda tensor: tensor * factor, name)


SHIFTED = {
    "a constant added to all of the student": changes(lambda tensor: tensor + 3, "student_hidden"),
    "a constant added to all of the teacher": changes(lambda tensor: tensor - 2, "teacher_hidden"),
}
SCALED = {
    "the student's size": times(3.0, "student_hidden"),
    "the teacher's size": times(0.5, "teacher_hidden"),
}


# --- masked generation, the teacher's classifier ----------------------------------------------------------------------


def plain_mgd(student_hidden, teacher_hidden, own, generator, ratio, masked) -> float:
    total = 0.0
    for student, teacher, block in zip(student_hidden, teacher_hidden, own, strict=True):
        B, C, H, W = teacher.shape
        drawn = torch.rand((B, C, 1, 1) if masked == "channels" else (B, 1, H, W), generator=generator).tolist()
        aligned = through(block.align, student)
        for b in range(B):
            for c in range(C):
                for i in range(H):
                    for j in range(W):
                        number = drawn[b][c][0][0] if masked == "channels" else drawn[b][0][i][j]
                        aligned[b][c][i][j] *= 0.0 if number < ratio else 1.0
        made = through(block.generate, aligned)
        for ours, theirs in zip(made, teacher.tolist(), strict=True):
            for c in range(C):
                total += sum((x - y) ** 2 for x, y in zip(flat(ours[c]), flat(theirs[c]), strict=True)) / B
    return total


def plain_simkd(student_hidden, teacher_hidden, own, factor) -> float:
    (student,), (teacher,) = student_hidden, teacher_hidden
    rows, columns = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    small, theirs = (
        [[averaged(channel, rows, columns) for channel in image] for image in images.tolist()]
        for images in (student, teacher)
    )
    ours = through(own.layers, small)
    terms = [
        (x - y) ** 2
        for a, b in zip(ours, theirs, strict=True)
        for c, d in zip(a, b, strict=True)
        for x, y in zip(flat(c), flat(d), strict=True)
    ]
    return sum(terms) / len(terms)


# --- singular vectors -----------------------------------------------------------------------------------------------


def eigen(matrix: list[list[float]]) -> list[tuple[float, list[float]]]:
    """Eigenvalues and vectors of a symmetric matrix, the largest first, by Jacobi's rotations."""
    n = len(matrix)
    a = [row[:] for row in matrix]
    v = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(60):
        for p in range(n):
            for q in range(p + 1, n):
                if abs(a[p][q]) < 1e-300:
                    continue
                angle = 0.5 * math.atan2(2 * a[p][q], a[q][q] - a[p][p])
                c, s = math.cos(angle), math.sin(angle)
                for rows in (a, v):
                    for row in rows:
                        row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]
                a[p], a[q] = (
                    [c * x - s * y for x, y in zip(a[p], a[q], strict=True)],
                    [s * x + c * y for x, y in zip(a[p], a[q], strict=True)],
                )
    found = [(a[i][i], [v[j][i] for j in range(n)]) for i in range(n)]
    return sorted(found, key=lambda pair: -pair[0])


def plain_kdsvd(student_hidden, teacher_hidden, k) -> float:
    def directions(image) -> list[tuple[float, list[float]]]:
        rows = [flat(channel) for channel in image]
        return eigen([[dot(x, y) for y in rows] for x in rows])

    def brought_in_line(student, teacher):
        """The first k of both, (k, C), times the teacher's singular values."""
        found, ours, theirs = directions(teacher)[:k], [], []
        sizes = unit([math.sqrt(value) for value, _ in found])
        for size, (_, vector) in zip(sizes, found, strict=True):
            sign = 1 if max(vector, key=abs) > 0 else -1
            vector = [sign * x for x in vector]
            best = max((w for _, w in directions(student)[: k + 1]), key=lambda w: abs(dot(vector, w)))
            sign = 1 if dot(vector, best) > 0 else -1
            ours.append([sign * size * x for x in best])
            theirs.append([size * x for x in vector])
        return ours, theirs

    total, B = 0.0, len(student_hidden[0])
    for b in range(B):
        layers = [
            brought_in_line(s[b].tolist(), t[b].tolist()) for s, t in zip(student_hidden, teacher_hidden, strict=True)
        ]
        for (ours, theirs), (next_ours, next_theirs) in itertools.pairwise(layers):
            for i in range(k):
                for c in range(len(ours[i])):
                    for d in range(len(next_ours[i])):
                        r_s = math.exp(-((ours[i][c] - next_ours[i][d]) ** 2) / 8)
                        r_t = math.exp(-((theirs[i][c] - next_theirs[i][d]) ** 2) / 8)
                        total += (r_s - r_t) ** 2 / B
    return total


# --- channels ---------------------------------------------------------------------------------------------------------


def plain_ickd(student_hidden, teacher_hidden, own, kernel) -> float:
    def correlations(image):
        rows = [flat(channel) for channel in image]
        return [unit([dot(x, y) for y in rows]) for x in rows]

    total = 0.0
    for student, teacher, embed in zip(student_hidden, teacher_hidden, own, strict=True):
        B, C = teacher.shape[:2]
        for ours, theirs in zip(through(embed, student), teacher.tolist(), strict=True):
            g, h = correlations(ours), correlations(theirs)
            total += sum((g[c][d] - h[c][d]) ** 2 for c in range(C) for d in range(C)) / (C * B)
    return total


def plain_nst(student_hidden, teacher_hidden, kernel) -> float:
    def distance(x, y) -> float:
        return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))

    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
        for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
            s, t = ([unit(flat(averaged(channel, *size))) for channel in image] for image in (ours, theirs))
            variance = sum(distance(x, y) for x in t for y in t) / len(t) ** 2
            k = {
                "linear": dot,
                "polynomial": lambda x, y: dot(x, y) ** 2,
                "gaussian": lambda x, y, v=variance: math.exp(-distance(x, y) / (2 * v)),
            }[kernel]
            among_t = sum(k(x, y) for x in t for y in t) / len(t) ** 2
            among_s = sum(k(x, y) for x in s for y in s) / len(s) ** 2
            between = sum(k(x, y) for x in s for y in t) / (len(s) * len(t))
            total += (among_t + among_s - 2 * between) / len(student)
    return total


# --- whole features ---------------------------------------------------------------------------------------------------


def plain_srd(student_hidden, teacher_hidden, own, exponent) -> float:
    def normed(rows: list[list[float]]) -> list[list[float]]:
        columns = []
        for column in zip(*rows, strict=True):
            mean = sum(column) / len(column)
            variance = sum((x - mean) ** 2 for x in column) / len(column)
            columns.append([(x - mean) / math.sqrt(variance + 1e-4) for x in column])
        return columns

    total = 0.0
    for student, teacher, projector in zip(student_hidden, teacher_hidden, own, strict=True):
        ours, theirs = normed(through(projector, student)), normed(teacher.tolist())
        powers = [abs(x - y) ** exponent for a, b in zip(ours, theirs, strict=True) for x, y in zip(a, b, strict=True)]
        total += math.log(sum(powers) + 1e-5)
    return total


def plain_ghnd(student_hidden, teacher_hidden, over_batch) -> float:
    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        squares = sum((x - y) ** 2 for x, y in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
        total += squares / (len(student) if over_batch == "mean" else 1)
    return total


SAME = maps(((3, 2, 3), (3, 2, 3)), ((2, 4, 4), (2, 4, 4)))
WIDER = maps(((2, 3, 3), (3, 3, 3)), ((3, 2, 4), (3, 2, 4)))
SMALLER = maps(((2, 4, 5), (3, 2, 3)), ((4, 2, 2), (2, 3, 3)))
LAYERS = maps(((3, 3, 3), (3, 3, 4)), ((4, 2, 3), (4, 3, 2)), ((4, 2, 2), (4, 2, 2)))

CASES = [
    Case("pixel_wise", SAME, plain_pixel_wise, same=SHIFTED, zero=True),
    Case("pairwise", maps(((3, 5, 4), (2, 5, 4)), ((2, 3, 3), (2, 3, 3))), plain_pairwise, same=SCALED),
    Case("pairwise", SAME, plain_pairwise, {"scale": 0.3, "pool": "average"}, same=SCALED, zero=True),
    Case("pairwise", maps(((3, 5, 7), (3, 5, 7))), plain_pairwise, {"scale": 0.5, "pool": "average"}, note="edges"),
    Case("channel_wise", WIDER, plain_channel_wise, same=SHIFTED),
    Case("channel_wise", SAME, plain_channel_wise, {"temperature": 1.0}, same=SHIFTED, zero=True),
    Case("mgd", WIDER, plain_mgd, permutes=False),
    Case("mgd", WIDER, plain_mgd, {"ratio": 0.65, "masked": "pixels"}, permutes=False),
    Case("mgd", SAME, plain_mgd, {"ratio": 0.0}),
    Case("simkd", maps(((2, 4, 5), (5, 2, 3))), plain_simkd),
    Case("simkd", maps(((3, 2, 2), (4, 3, 4))), plain_simkd, {"factor": 1}),
    Case("kdsvd", LAYERS, plain_kdsvd, same=SCALED),
    Case("kdsvd", LAYERS, plain_kdsvd, {"k": 2}, same=SCALED),
    Case("kdsvd", SAME, plain_kdsvd, {"k": 2}, zero=True, note="equal sizes"),
    Case("ickd", SMALLER, plain_ickd, same={"the teacher's size": SCALED["the teacher's size"]}),
    Case("ickd", WIDER, plain_ickd, {"kernel": 3}),
    Case("nst", SMALLER, plain_nst, same=SCALED),
    Case("nst", SAME, plain_nst, {"kernel": "linear"}, same=SCALED, zero=True),
    Case("nst", SAME, plain_nst, {"kernel": "gaussian"}, same=SCALED, zero=True),
    Case("nst", SMALLER, plain_nst, {"kernel": "gaussian"}, note="sizes"),
    Case("srd", maps(((3,), (4,)), ((2,), (2,))), plain_srd),
    Case("srd", maps(((3,), (4,))), plain_srd, {"exponent": 2.0}),
    Case("ghnd", maps(((3,), (3,)), ((2, 3, 2), (2, 3, 2))), plain_ghnd, zero=True),
    Case("ghnd", SAME, plain_ghnd, {"over_batch": "mean"}, zero=True),
]
