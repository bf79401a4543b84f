"""Methods that compare relations between examples, in plain loops: FSP, PKT, RKD, CCKD, SPKD, CRD and SSKD."""

import math

import torch
from method_proofs import Case, changed

VIEWS = 4


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def length(a):
    return math.sqrt(dot(a, a))


def cosine(a, b):
    return dot(a, b) / (length(a) * length(b)) if length(a) and length(b) else 0.0


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def softmax(scores):
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


# --- inputs ----------------------------------------------------------------------------------------------------------


def features(draw, B, student=(3,), teacher=(5,)):
    """Features of some widths, one a tap."""
    return {
        "student_hidden": [draw.normal(B, D) for D in student],
        "teacher_hidden": [draw.normal(B, D) for D in teacher],
    }


def maps(draw, B):
    """Two pairs of maps: of one size and of two, the teacher's of other sizes than the student's."""
    channels, ours, theirs = (2, 3, 3, 2), ((4, 4), (4, 4), (5, 4), (2, 3)), ((6, 6), (3, 3), (2, 2), (2, 2))
    return {
        "student_hidden": [draw.normal(B, C, *size) for C, size in zip(channels, ours, strict=True)],
        "teacher_hidden": [draw.normal(B, C, *size) for C, size in zip(channels, theirs, strict=True)],
    }


def activations(draw, B):
    return {
        "student_hidden": [draw.normal(B, 2, 3, 3), draw.normal(B, 4)],
        "teacher_hidden": [draw.normal(B, 3, 2, 2), draw.normal(B, 2, 2)],
    }


def remembered(draw, B):
    return {**features(draw, B), "index": torch.randperm(16, generator=draw.generator)[:B]}


def views(draw, N):
    return {**features(draw, VIEWS * N), "views": VIEWS}


def teacher_views(draw, N):
    return {"teacher_hidden": [draw.normal(VIEWS * N, 5)], "views": VIEWS}


def classified_views(draw, N, C=6):
    labels = torch.full((VIEWS * N,), -1)
    labels[::VIEWS] = draw.classes(N, C)
    logits = draw.normal(VIEWS * N, C, scale=2.0), draw.normal(VIEWS * N, C, scale=2.0)
    return {"student_logits": logits[0], "teacher_hidden": [logits[1]], "labels": labels, "views": VIEWS}


# --- formulas --------------------------------------------------------------------------------------------------------


def max_pooled(image, size):
    """One channel, rows of numbers, in windows that cover it."""
    (H, W), (h, w) = (len(image), len(image[0])), size
    return [
        [
            max(
                image[s][t]
                for s in range(i * H // h, math.ceil((i + 1) * H / h))
                for t in range(j * W // w, math.ceil((j + 1) * W / w))
            )
            for j in range(w)
        ]
        for i in range(h)
    ]


def flow(first, second):
    """The FSP matrix of the maps (C, H, W) of one example."""
    h, w = min(len(first[0]), len(second[0])), min(len(first[0][0]), len(second[0][0]))
    first, second = ([max_pooled(channel, (h, w)) for channel in each] for each in (first, second))
    return [[sum(a[s][t] * b[s][t] for s in range(h) for t in range(w)) / (h * w) for b in second] for a in first]


def fsp(student_hidden, teacher_hidden):
    ours, theirs = ([tap.tolist() for tap in side] for side in (student_hidden, teacher_hidden))
    total = 0.0
    for i in range(0, len(ours), 2):
        for b in range(len(ours[i])):
            mine, wanted = flow(ours[i][b], ours[i + 1][b]), flow(theirs[i][b], theirs[i + 1][b])
            squares = [(x - y) ** 2 for p, q in zip(mine, wanted, strict=True) for x, y in zip(p, q, strict=True)]
            total += sum(squares) / len(ours[i])
    return total


def pkt(student_hidden, teacher_hidden):
    def probabilities(x):
        kernel = [[(cosine(a, b) + 1) / 2 for b in x] for a in x]
        return [[k / sum(row) for k in row] for row in kernel]

    def term(student, teacher):
        p, q = probabilities(teacher.tolist()), probabilities(student.tolist())
        every = range(len(p))
        return mean(p[i][j] * math.log((p[i][j] + 1e-7) / (q[i][j] + 1e-7)) for i in every for j in every)

    return mean(term(s, t) for s, t in zip(student_hidden, teacher_hidden, strict=True))


def rkd(student_hidden, teacher_hidden, distance_weight, angle_weight):
    def huber(u):
        return u * u / 2 if abs(u) <= 1 else abs(u) - 0.5

    def minus(a, b):
        return [x - y for x, y in zip(a, b, strict=True)]

    def distances(x):
        found = [[length(minus(a, b)) for b in x] for a in x]
        other = [d for row in found for d in row if d > 0]
        return [[d / mean(other) if other else 0.0 for d in row] for row in found]

    def angles(x):
        return [[[cosine(minus(i, j), minus(k, j)) for k in x] for j in x] for i in x]

    def term(student, teacher):
        s, t = student.tolist(), teacher.tolist()
        every = range(len(s))
        ours, theirs = distances(s), distances(t)
        by_distance = mean(huber(theirs[i][j] - ours[i][j]) for i in every for j in every)
        ours, theirs = angles(s), angles(t)
        by_angle = mean(huber(theirs[i][j][k] - ours[i][j][k]) for i in every for j in every for k in every)
        return distance_weight * by_distance + angle_weight * by_angle

    return mean(term(s, t) for s, t in zip(student_hidden, teacher_hidden, strict=True))


def cckd(student_hidden, teacher_hidden, own, features, kernel, gamma, order):
    def k(x, y):
        if kernel == "bilinear":
            return dot(x, y)
        terms = [(2 * gamma) ** p / math.factorial(p) * cosine(x, y) ** p for p in range(order + 1)]
        return math.exp(-2 * gamma) * sum(terms)

    total = 0.0
    for tap, (student, teacher) in enumerate(zip(student_hidden, teacher_hidden, strict=True)):
        s, t = own.student[tap](student).tolist(), own.teacher[tap](teacher).tolist()
        every = range(len(s))
        total += sum((k(t[i], t[j]) - k(s[i], s[j])) ** 2 for i in every for j in every) / len(s) ** 2
    return total / len(student_hidden)


def spkd(student_hidden, teacher_hidden):
    def rows(activations):
        x = [example.flatten().tolist() for example in activations]
        gram = [[dot(a, b) for b in x] for a in x]
        return [[g / length(row) for g in row] for row in gram]

    total = 0.0
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        s, t = rows(student), rows(teacher)
        every = range(len(s))
        total += sum((t[i][j] - s[i][j]) ** 2 for i in every for j in every) / len(s) ** 2
    return total


def crd(student_hidden, teacher_hidden, index, own, generator, features, negatives, temperature, momentum):
    n, B = len(own.student_bank), len(index)
    drawn = torch.randint(n - 1, (B, negatives), generator=generator).tolist()
    total = 0.0
    sides = ((own.student(student_hidden[0]), own.teacher_bank), (own.teacher(teacher_hidden[0]), own.student_bank))
    for side, (embedded, bank) in enumerate(sides):
        exps = []
        for i, x in zip(index.tolist(), embedded.tolist(), strict=True):
            others = [k if k < i else k + 1 for k in drawn[len(exps)]]
            u = [value / length(x) for value in x]
            exps.append([math.exp(dot(u, bank[k].tolist()) / temperature) for k in (i, *others)])
        Z = math.exp(own.log_z[side].item()) if own.started else n * mean(e for row in exps for e in row)
        noise = negatives / n
        for row in exps:
            total -= math.log(row[0] / Z / (row[0] / Z + noise))
            total -= sum(math.log(noise / (e / Z + noise)) for e in row[1:])
    return total / B


def begun(own):
    """After some batch: a memory whose constants are set, as are those of all batches but the first."""
    own.log_z.copy_(torch.tensor([5.0, 4.0]))
    own.started.fill_(True)


def learnt_from(ranks, ratio):
    """Rows by their ranks: all that are right, and the best of the others."""
    wrong = sorted((rank, row) for row, rank in enumerate(ranks) if rank)
    return [row for row, rank in enumerate(ranks) if not rank] + [row for _, row in wrong[: int(len(wrong) * ratio)]]


def rank(scores, wanted):
    return sum(score > scores[wanted] for score in scores)


def divergence(ours, theirs, rows, temperature):
    terms = [kl(*(softmax([score / temperature for score in side[row]]) for side in (theirs, ours))) for row in rows]
    return temperature**2 * sum(terms) / max(len(terms), 1)


def similarities(hidden, head):
    """Of each rotation and each image, and which image each rotation is of."""
    x = head(hidden[0]).tolist()
    images = [x[i] for i in range(0, len(x), VIEWS)]
    rotated = [i for i in range(len(x)) if i % VIEWS]
    return [[cosine(x[i], image) for image in images] for i in rotated], [i // VIEWS for i in rotated]


def sskd_auxiliary(teacher_hidden, own, views):
    scores, source = similarities(teacher_hidden, own["teacher"])
    return mean(-math.log(softmax(row)[image]) for row, image in zip(scores, source, strict=True))


def sskd(student_hidden, teacher_hidden, own, views, temperature, ratio):
    ours, _ = similarities(student_hidden, own["student"])
    theirs, source = similarities(teacher_hidden, own["teacher"])
    ranks = [rank(row, image) for row, image in zip(theirs, source, strict=True)]
    return divergence(ours, theirs, learnt_from(ranks, ratio), temperature)


def sskd_transformed(student_logits, teacher_hidden, labels, views, temperature, ratio):
    rotated = [i for i in range(len(labels)) if i % VIEWS]
    ours, theirs = ([side[i].tolist() for i in rotated] for side in (student_logits, teacher_hidden[0]))
    wanted = [labels[i - i % VIEWS].item() for i in rotated]
    ranks = [rank(row, label) for row, label in zip(theirs, wanted, strict=True)]
    return divergence(ours, theirs, learnt_from(ranks, ratio), temperature)


# --- what formulas do not see ----------------------------------------------------------------------------------------


def student(change):
    return lambda inputs: changed(inputs, change, "student_hidden")


def turned(features):
    """The same features along other axes."""
    D = features.shape[1]
    axes, _ = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    return features @ axes


def by_example(features):
    """Each example's features times a number of its own."""
    return features * torch.arange(1, len(features) + 1, dtype=features.dtype).reshape(-1, *[1] * (features.ndim - 1))


def other_order(hidden):
    """The images in another order, each with its rotations."""
    return hidden.unflatten(0, (-1, VIEWS)).flip(0).flatten(0, 1)


def other_images(inputs):
    names = [name for name, value in inputs.items() if isinstance(value, list | torch.Tensor)]
    return changed(inputs, other_order, *names)


def two_taps(draw, B):
    return features(draw, B, (3, 4), (5, 2))


CASES = [
    Case("fsp", maps, fsp),
    Case(
        "fsp",
        lambda draw, B: {side: [draw.normal(B, 2, 3, 3), draw.normal(B, 4, 3, 3)] for side in
                         ("student_hidden", "teacher_hidden")},
        fsp, zero=True, note="equal shapes",
    ),
    Case("pkt", features, pkt, same={"an example's length": student(by_example), "axes": student(turned)}),
    Case("pkt", two_taps, pkt, note="two taps"),
    Case("pkt", lambda draw, B: features(draw, B, (3,), (3,)), pkt, zero=True, note="equal shapes"),
    Case(
        "rkd", features, rkd,
        same={
            "scale": student(lambda x: 7 * x), "place": student(lambda x: x + torch.tensor([1.0, -2.0, 3.0])),
            "axes": student(turned),
        },
    ),
    Case("rkd", two_taps, rkd, {"angle_weight": 0.0}, note="two taps"),
    Case("rkd", features, rkd, {"distance_weight": 0.0, "angle_weight": 2.0}),
    Case("rkd", lambda draw, B: features(draw, B, (3,), (3,)), rkd, zero=True, note="equal shapes"),
    Case("cckd", features, cckd, {"features": 6}),
    Case("cckd", two_taps, cckd, {"features": 4, "gamma": 1.5, "order": 5}, note="two taps"),
    Case("cckd", features, cckd, {"features": 6, "kernel": "bilinear"}),
    Case("spkd", activations, spkd, same={"scale": student(lambda x: 3 * x)}),
    Case("spkd", lambda draw, B: features(draw, B, (3,), (3,)), spkd, zero=True, note="equal shapes"),
    Case(
        "crd", remembered, crd, {"features": 4, "negatives": 6}, permutes=False, before=begun,
    ),
    Case(
        "crd", remembered, crd, {"features": 4, "negatives": 30, "temperature": 0.5, "momentum": 0.0}, permutes=False,
        before=begun,
    ),
    Case(
        "crd", remembered, crd, {"features": 4, "negatives": 6}, permutes=False, whole_gradient=False,
        note="first batch",
    ),
    Case("sskd_auxiliary", teacher_views, sskd_auxiliary, same={"order of images": other_images}, permutes=False),
    Case("sskd", views, sskd, permutes=False),
    Case(
        "sskd", views, sskd, {"ratio": 1.0, "temperature": 2.0}, same={"order of images": other_images},
        permutes=False,
    ),
    Case("sskd", views, sskd, {"ratio": 0.0}, permutes=False),
    Case(
        "sskd_transformed", classified_views, sskd_transformed, same={"order of images": other_images}, permutes=False,
    ),
    Case("sskd_transformed", classified_views, sskd_transformed, {"ratio": 0.4, "temperature": 1.0}, permutes=False),
]  # fmt: skip
