"""Cases of the methods that compare features: hints, attention, factors, boundaries, variances, reviews."""

import math

import torch
from method_proofs import Case, Draw, Inputs, changed

# --- plain pieces: nested lists of numbers ----------------------------------------------------------------------------


def flat(values) -> list[float]:
    """All numbers of nested lists."""
    return [number for value in values for number in flat(value)] if isinstance(values, list) else [values]


def norm(values: list[float], order: int = 2) -> float:
    return sum(abs(value) ** order for value in values) ** (1 / order)


def divided(values: list[float], order: int = 2) -> list[float]:
    return [value / norm(values, order) for value in values]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def shrunk(plane: list[list[float]], rows: int, columns: int) -> list[list[float]]:
    """A plane averaged to a size: each place is the mean of the places that it covers, in part or wholly."""
    H, W = len(plane), len(plane[0])
    result = []
    for i in range(rows):
        covered_rows = range(i * H // rows, math.ceil((i + 1) * H / rows))
        result.append([])
        for j in range(columns):
            covered_columns = range(j * W // columns, math.ceil((j + 1) * W / columns))
            result[-1].append(mean(plane[h][w] for h in covered_rows for w in covered_columns))
    return result


def stretched(plane: list[list[float]], rows: int, columns: int) -> list[list[float]]:
    """A plane brought to a size by taking the nearest place."""
    H, W = len(plane), len(plane[0])
    return [[plane[i * H // rows][j * W // columns] for j in range(columns)] for i in range(rows)]


def planes(maps: list, change, *size: int) -> list:
    """Maps (B, C, H, W) with each plane changed."""
    return [[change(plane, *size) for plane in example] for example in maps]


def size_of(maps: list) -> tuple[int, int]:
    return len(maps[0][0]), len(maps[0][0][0])


def smaller(student: list, teacher: list) -> tuple[list, list]:
    size = tuple(min(pair) for pair in zip(size_of(student), size_of(teacher), strict=True))
    return planes(student, shrunk, *size), planes(teacher, shrunk, *size)


def passed(module, values: list) -> list:
    """Through a learned layer."""
    return module(torch.tensor(values, dtype=torch.float64)).tolist()


# --- inputs -----------------------------------------------------------------------------------------------------------


def of_shapes(student: list[tuple[int, ...]], teacher: list[tuple[int, ...]]):
    """Draws tensors of these shapes, one a tap."""

    def make(draw: Draw, B: int) -> Inputs:
        return {
            "student_hidden": [draw.normal(B, *shape) for shape in student],
            "teacher_hidden": [draw.normal(B, *shape) for shape in teacher],
        }

    return make


def of_texts(student: int, teacher: int, T: int = 4):
    """Draws hidden states with a mask."""

    def make(draw: Draw, B: int) -> Inputs:
        hidden = of_shapes([(T, student)], [(T, teacher)])(draw, B)
        return {**hidden, "mask": draw.mask(B, T)}

    return make


def scaled(factor: float, *names: str):
    return lambda inputs: changed(inputs, lambda tensor: tensor * factor, *names)


MAPS = ([(3, 4, 4), (4, 2, 2)], [(5, 4, 4), (4, 2, 2)])

# --- references -------------------------------------------------------------------------------------------------------


def hint(student_hidden, teacher_hidden, mask, own, reduction, shrink, norm, relu) -> float:
    terms = []
    for student, teacher, regressor in zip(student_hidden, teacher_hidden, own, strict=True):
        made = regressor(student).tolist()
        total, number = 0.0, 0
        for b, (ours, theirs) in enumerate(zip(made, teacher.tolist(), strict=True)):
            for t, (x, y) in enumerate(zip(ours, theirs, strict=True)):
                if mask is not None and mask[b, t] == 0:
                    continue
                for x_i, y_i in zip(flat(x), flat(y), strict=True):
                    total += (y_i - x_i) ** 2
                    number += 1
        terms.append(total / 2 / len(made) if reduction == "sum" else total / number)
    return mean(terms)


def attention(student_hidden, teacher_hidden, mode, power) -> float:
    total = 0.0
    for pair in zip(student_hidden, teacher_hidden, strict=True):
        maps = []
        for features in pair:
            examples = features.tolist()
            H, W = size_of(examples)
            summed = [
                [[sum(abs(plane[i][j]) ** power for plane in x) / len(x) for j in range(W)] for i in range(H)]
                for x in examples
            ]
            maps.append([[plane] for plane in summed])
        distances = []
        for ours, theirs in zip(*smaller(*maps), strict=True):
            difference = [x - y for x, y in zip(divided(flat(ours)), divided(flat(theirs)), strict=True)]
            distances.append(norm(difference) if mode == "paper" else mean(d**2 for d in difference))
        total += mean(distances)
    return total


def factors(student_hidden, teacher_hidden, p) -> float:
    return mean(
        mean(
            _apart(divided(flat(x)), divided(flat(y)), p)
            for x, y in zip(student.tolist(), teacher.tolist(), strict=True)
        )
        for student, teacher in zip(student_hidden, teacher_hidden, strict=True)
    )


def _apart(ours: list[float], theirs: list[float], p: int) -> float:
    difference = [x - y for x, y in zip(ours, theirs, strict=True)]
    return norm(difference, p) / (len(difference) if p == 1 else 1)


def boundaries(student_hidden, teacher_hidden, own, margin, decay) -> float:
    total = 0.0
    for student, teacher, connect in zip(student_hidden, teacher_hidden, own, strict=True):
        found = connect(student).tolist()
        term = 0.0
        for x, y in zip(flat(found), flat(teacher.tolist()), strict=True):
            if y > 0 and x <= margin:
                term += (x - margin) ** 2
            if y <= 0 and x > -margin:
                term += (x + margin) ** 2
        total = decay * total + term / len(found)
    return total


def overhaul(student_hidden, teacher_hidden, own, decay) -> float:
    total = 0.0
    for student, teacher, pair in zip(student_hidden, teacher_hidden, own, strict=True):
        ours, theirs = pair.connector(student).tolist(), teacher.tolist()
        term = 0.0
        for c in range(len(theirs[0])):
            negative = [y for example in theirs for y in flat(example[c]) if y < 0]
            least = mean(negative) if negative else 0.0
            for x_example, y_example in zip(ours, theirs, strict=True):
                for x, y in zip(flat(x_example[c]), flat(y_example[c]), strict=True):
                    y = max(y, least)
                    term += 0.0 if x <= y <= 0 else (x - y) ** 2
        total = decay * total + term / len(ours)
    return total


def information(student_hidden, teacher_hidden, own, variance, eps) -> float:
    total = 0.0
    for student, teacher, regressor in zip(student_hidden, teacher_hidden, own, strict=True):
        ours, theirs = student.tolist(), teacher.tolist()
        if student.ndim == 4:
            ours, theirs = smaller(ours, theirs)
        variances = [math.log(1 + math.exp(raw)) + eps for raw in regressor.raw.tolist()]
        terms = []
        for mu_example, y_example in zip(passed(regressor.mean, ours), theirs, strict=True):
            for v, mu, y in zip(variances, mu_example, y_example, strict=True):
                for a, b in zip(flat([mu]), flat([y]), strict=True):
                    terms.append(((b - a) ** 2 / v + math.log(v)) / 2)
        total += mean(terms)
    return total


def adaptive(student_hidden, teacher_hidden, own, eps) -> float:
    terms = []
    for student, teacher, estimator in zip(student_hidden, teacher_hidden, own, strict=True):
        logs = flat(estimator(student).tolist())
        triples = zip(logs, flat(student.tolist()), flat(teacher.tolist()), strict=True)
        terms.append(mean((y - x) ** 2 / (eps + math.exp(s)) + s for s, x, y in triples))
    return mean(terms)


def review(student_hidden, teacher_hidden, own, pyramid, middle) -> float:
    total, fused = 0.0, None
    for stage in reversed(range(len(own))):
        fusion, theirs = own[stage], teacher_hidden[stage].tolist()
        taken = fusion.taken(student_hidden[stage]).tolist()
        if fused is not None:
            H, W = size_of(taken)
            deeper = planes(fused, stretched, H, W)
            both = [[*x, *y] for x, y in zip(taken, deeper, strict=True)]
            gates = passed(fusion.attention, both)
            taken = [
                [
                    [[x[c][i][j] * g[0][i][j] + y[c][i][j] * g[1][i][j] for j in range(W)] for i in range(H)]
                    for c in range(len(x))
                ]
                for x, y, g in zip(taken, deeper, gates, strict=True)
            ]
        fused = planes(taken, stretched, *size_of(theirs))
        given = passed(fusion.given, fused)
        terms, weights = [_squared(given, theirs)], [1.0]
        for size in pyramid:
            if size < min(size_of(theirs)):
                terms.append(_squared(planes(given, shrunk, size, size), planes(theirs, shrunk, size, size)))
                weights.append(weights[-1] / 2)
        total += sum(w * t for w, t in zip(weights, terms, strict=True)) / sum(weights)
    return total


def _squared(ours: list, theirs: list) -> float:
    return mean((x - y) ** 2 for x, y in zip(flat(ours), flat(theirs), strict=True))


def adaptation(student_hidden, teacher_hidden, own, p, q) -> float:
    terms = []
    for student, teacher, adapter in zip(student_hidden, teacher_hidden, own, strict=True):
        examples = zip(adapter(student).tolist(), teacher.tolist(), strict=True)
        terms.append(mean(_apart(divided(flat(x), q), divided(flat(y), q), p) for x, y in examples))
    return mean(terms)


def affinity(student_hidden, teacher_hidden, own) -> float:
    terms = []
    for student, teacher, adapter in zip(student_hidden, teacher_hidden, own, strict=True):
        examples = []
        for ours, theirs in zip(adapter(student).tolist(), teacher.tolist(), strict=True):
            total = 0.0
            for x_plane, y_plane in zip(ours, theirs, strict=True):
                x, y = divided(flat(x_plane)), divided(flat(y_plane))
                places = range(len(x))
                total += norm([(x[i] * x[j] - y[i] * y[j]) / len(x) for i in places for j in places])
            examples.append(total)
        terms.append(mean(examples))
    return mean(terms)


# --- cases ------------------------------------------------------------------------------------------------------------

ANY_LENGTH = {
    "the student's length": scaled(3.0, "student_hidden"),
    "the teacher's length": scaled(0.2, "teacher_hidden"),
}
HINTS = of_shapes([(3, 4, 4), (2, 6, 4)], [(4, 4, 4), (3, 3, 2)])
UNEQUAL = of_shapes([(3, 4, 5), (2, 2, 2)], [(4, 3, 5), (3, 4, 4)])
LATENT = of_shapes([(3, 4, 4), (2, 3, 2)], [(2, 4, 4), (3, 3, 2)])
REVIEWED = of_shapes([(3, 6, 6), (4, 3, 3), (5, 1, 1)], [(2, 6, 6), (4, 3, 3), (6, 1, 1)])

CASES = [
    Case("fitnet", HINTS, hint),
    Case("fitnet", HINTS, hint, {"reduction": "mean", "shrink": "stride", "norm": True, "relu": True}),
    Case("fitnet", of_shapes([(3,), (4,)], [(5,), (4,)]), hint, note="vectors"),
    Case("fitnet", of_texts(3, 4), hint, note="texts"),
    Case("fitnet", of_texts(3, 4), hint, {"reduction": "mean", "relu": True}, note="texts"),
    Case("at", of_shapes(*MAPS), attention, same=ANY_LENGTH | {
        "the student's sign": scaled(-1.0, "student_hidden")}),
    Case("at", of_shapes([(4, 3, 3)], [(4, 3, 3)]), attention, zero=True, note="one shape"),
    Case("at", of_shapes(*MAPS), attention, {"mode": "paper"}, same=ANY_LENGTH),
    Case("at", of_shapes([(4, 3, 3)], [(4, 3, 3)]), attention, {"mode": "paper", "power": 3}, zero=True),
    Case("at", UNEQUAL, attention, {"power": 1}, same=ANY_LENGTH, note="sizes differ"),
    Case("ft", of_shapes([(3, 2, 2), (4,)], [(3, 2, 2), (4,)]), factors, same=ANY_LENGTH, zero=True),
    Case("ft", of_shapes([(3, 2, 2), (4,)], [(3, 2, 2), (4,)]), factors, {"p": 2}, same=ANY_LENGTH, zero=True),
    Case("dab", of_shapes(*MAPS), boundaries, same={"the teacher's length": scaled(5.0, "teacher_hidden")}),
    Case("dab", of_shapes(*MAPS), boundaries, {"margin": 0.3, "decay": 1.0}),
    Case("ofd", of_shapes(*MAPS), overhaul),
    Case("ofd", of_shapes(*MAPS), overhaul, {"decay": 1.0}),
    Case("vid", of_shapes(*MAPS), information),
    Case("vid", UNEQUAL, information, {"variance": 0.5, "eps": 0.1}, note="sizes differ"),
    Case("vid", of_shapes([(3,)], [(5,)]), information, note="vectors"),
    Case("pad", of_shapes([(4, 1, 1), (3,)], [(4, 1, 1), (3,)]), adaptive),
    Case("pad", of_shapes([(5,)], [(5,)]), adaptive, {"eps": 0.1}),
    Case("kr", REVIEWED, review),
    Case("kr", of_shapes([(3, 4, 4), (4, 2, 2)], [(2, 6, 6), (4, 3, 3)]), review, {"pyramid": [3, 2], "middle": 2}),
    *(Case("ktaad", LATENT, adaptation, {"p": p, "q": q}, same={"the teacher's length": scaled(0.2, "teacher_hidden")})
      for p in (1, 2) for q in (1, 2)),
    Case("ktaad_affinity", LATENT, affinity, same={
        "the teacher's length and sign": scaled(-0.2, "teacher_hidden")}),
]  # fmt: skip
