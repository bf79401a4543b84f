"""Methods that compare logits, and the plain second implementations that they are held against."""

import math
from typing import Any

import torch
from method_proofs import Case, Draw, Inputs, changed
from torch import Tensor

Row = list[float]
B_STUDENT, B_TEACHER = "student_logits", "teacher_logits"


# --- inputs ----------------------------------------------------------------------------------------------------------


def logits(C: int, scale: float = 2.0):
    """Logits of both over C classes."""

    def make(draw: Draw, B: int) -> Inputs:
        return {B_STUDENT: draw.normal(B, C, scale=scale), B_TEACHER: draw.normal(B, C, scale=scale)}

    return make


def labelled(C: int, *names: str, missing: bool = True):
    """Logits of student and teachers, and labels, of which every other is missing if asked for; scores where C = 1."""

    def make(draw: Draw, B: int) -> Inputs:
        made: Inputs = {B_STUDENT: draw.normal(B, C, scale=2.0)}
        if B_TEACHER in names:
            made[B_TEACHER] = draw.normal(B, C, scale=2.0)
        if "all_teacher_logits" in names:
            made["all_teacher_logits"] = [draw.normal(B, C, scale=2.0) for _ in range(3)]
        made["labels"] = draw.normal(B) if C == 1 else draw.classes(B, C)
        if missing:
            made["labels"][1::2] = math.nan if C == 1 else -1
        return made

    return make


def teachers(C: int, number: int = 3):
    def make(draw: Draw, B: int) -> Inputs:
        return {
            B_STUDENT: draw.normal(B, C, scale=2.0),
            "all_teacher_logits": [draw.normal(B, C, scale=2.0) for _ in range(number)],
        }

    return make


def token(draw: Draw, B: int) -> Inputs:
    return {"student_hidden": [draw.normal(B, 4, scale=2.0)], B_TEACHER: draw.normal(B, 4, scale=2.0)}


def with_share(share: float):
    return lambda draw, B: logits(4)(draw, B) | {"share": share}


def with_maps(draw: Draw, B: int) -> Inputs:
    made = logits(4)(draw, B)
    for side in ("student_hidden", "teacher_hidden"):
        made[side] = [draw.normal(B, 3, 4, 2), draw.normal(B, 5, 2, 2)]
    return made


# --- what a formula does not see -------------------------------------------------------------------------------------


def column(tensor: Tensor, first: float, last: float) -> Tensor:
    """A number for each example, (B, 1)."""
    return torch.linspace(first, last, len(tensor), dtype=torch.float64).unsqueeze(-1)


def shifted(inputs: Inputs) -> Inputs:
    """Another constant is added to each example's logits, of both."""
    names = [name for name in (B_STUDENT, B_TEACHER, "all_teacher_logits") if name in inputs]
    return changed(inputs, lambda tensor: tensor + column(tensor, -3, 4), *names)


def scaled(inputs: Inputs) -> Inputs:
    """Each example's logits are multiplied by another number above 0, of both."""
    return changed(inputs, lambda tensor: tensor * column(tensor, 0.5, 3), B_STUDENT, B_TEACHER)


SHIFTED = {"a constant in the logits": shifted}


# --- plain pieces ----------------------------------------------------------------------------------------------------


def logs(row: Row, temperature: float = 1.0) -> Row:
    """Log-softmax."""
    scaled_row = [x / temperature for x in row]
    largest = max(scaled_row)
    total = largest + math.log(sum(math.exp(x - largest) for x in scaled_row))
    return [x - total for x in scaled_row]


def softmax(row: Row, temperature: float = 1.0) -> Row:
    return [math.exp(x) for x in logs(row, temperature)]


def divergence(p: Row, q: Row) -> float:
    """KL(p, q) of probabilities."""
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def mean(values: Row) -> float:
    return sum(values) / len(values) if values else 0.0


def pairs(student: Tensor, teacher: Tensor) -> list[tuple[Row, Row]]:
    return list(zip(student.tolist(), teacher.tolist(), strict=True))


def plain_correlation(x: Row, y: Row) -> float:
    dx, dy = ([v - mean(row) for v in row] for row in (x, y))
    norms = math.sqrt(sum(v * v for v in dx) * sum(v * v for v in dy))
    return sum(a * b for a, b in zip(dx, dy, strict=True)) / norms if norms else 0.0


def cosine(x: Row, y: Row) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True)) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def columns(rows: list[Row]) -> list[Row]:
    return [list(each) for each in zip(*rows, strict=True)]


def solved(matrix: list[Row], right: Row) -> Row:
    """x of matrix x = right, by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for r in range(n):
            if r != i:
                rows[r] = [a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


def median(values: Row) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


# --- references ------------------------------------------------------------------------------------------------------


def plain_kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float, t_squared: bool) -> float:
    terms = []
    for s, t in pairs(student_logits, teacher_logits):
        if len(s) == 1:
            terms.append((s[0] - t[0]) ** 2)
        else:
            kl = divergence(softmax(t, temperature), softmax(s, temperature))
            terms.append(kl * (temperature**2 if t_squared else 1))
    return mean(terms)


def plain_hard(student_logits: Tensor, labels: Tensor) -> float:
    terms = []
    for s, label in zip(student_logits.tolist(), labels.tolist(), strict=True):
        if labels.is_floating_point():
            terms += [] if math.isnan(label) else [(s[0] - label) ** 2]
        elif label >= 0:
            terms.append(-logs(s)[label])
    return mean(terms)


def plain_pseudo_label(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> float:
    filled = labels.clone()
    for i, row in enumerate(teacher_logits.tolist()):
        if labels.is_floating_point():
            filled[i] = row[0] if math.isnan(labels[i]) else labels[i]
        elif labels[i] < 0:
            filled[i] = row.index(max(row))
    return plain_hard(student_logits, filled)


def plain_dkd(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, alpha: float, beta: float, temperature: float
) -> float:
    terms = []
    for (s, t), label in zip(pairs(student_logits, teacher_logits), labels.tolist(), strict=True):
        if label < 0:
            continue
        p, q = softmax(t, temperature), softmax(s, temperature)
        target = divergence([p[label], 1 - p[label]], [q[label], 1 - q[label]])
        others = [k for k in range(len(s)) if k != label]
        rest = divergence([p[k] / (1 - p[label]) for k in others], [q[k] / (1 - q[label]) for k in others])
        terms.append(temperature**2 * (alpha * target + beta * rest))
    return mean(terms)


def plain_dist(student_logits: Tensor, teacher_logits: Tensor, beta: float, gamma: float, temperature: float) -> float:
    p = [softmax(row, temperature) for row in teacher_logits.tolist()]
    q = [softmax(row, temperature) for row in student_logits.tolist()]
    inter = 1 - mean([plain_correlation(a, b) for a, b in zip(q, p, strict=True)])
    intra = 1 - mean([plain_correlation(a, b) for a, b in zip(columns(q), columns(p), strict=True)])
    return temperature**2 * (beta * inter + gamma * intra)


def plain_dist_plus(
    student_logits: Tensor, teacher_logits: Tensor, student_hidden: list[Tensor], teacher_hidden: list[Tensor],
    channel: float, spatial: float, **settings: float,
) -> float:  # fmt: skip
    taps = []
    for s, t in zip(student_hidden, teacher_hidden, strict=True):
        places = [(h, w) for h in range(s.shape[2]) for w in range(s.shape[3])]
        by_channel = [plain_correlation(s[b, :, h, w].tolist(), t[b, :, h, w].tolist())
                      for b in range(len(s)) for h, w in places]  # fmt: skip
        by_place = []
        for h, w in places:
            ours = [sum(s[b, :, h, w].tolist()) for b in range(len(s))]
            theirs = [sum(t[b, :, h, w].tolist()) for b in range(len(s))]
            by_place.append(plain_correlation(ours, theirs))
        taps.append(channel * (1 - mean(by_channel)) + spatial * (1 - mean(by_place)))
    return plain_dist(student_logits, teacher_logits, **settings) + mean(taps)


def plain_nkd(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, gamma: float, temperature: float
) -> float:
    terms = []
    for (s, t), label in zip(pairs(student_logits, teacher_logits), labels.tolist(), strict=True):
        if label < 0:
            continue
        p, q = softmax(t, temperature), softmax(s, temperature)
        rest = 0.0
        for k in range(len(s)):
            if k != label:
                rest -= p[k] / (1 - p[label]) * math.log(q[k] / (1 - q[label]))
        terms.append(-softmax(t)[label] * math.log(softmax(s)[label]) + gamma * temperature**2 * rest)
    return mean(terms)


def plain_ctkd(
    student_logits: Tensor, teacher_logits: Tensor, own: Any, lowest: float, span: float, **_: float
) -> float:
    temperature = lowest + span / (1 + math.exp(-own.raw.item()))
    return plain_kd(student_logits, teacher_logits, temperature, True)


def plain_deit(student_hidden: list[Tensor], teacher_logits: Tensor, targets: str, temperature: float) -> float:
    if targets == "soft":
        return plain_kd(student_hidden[0], teacher_logits, temperature, True)
    return mean([-logs(s)[t.index(max(t))] for s, t in pairs(student_hidden[0], teacher_logits)])


def plain_logit_standardisation(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, t_squared: bool
) -> float:
    def standardised(row: Row) -> Row:
        deviation = math.sqrt(sum((x - mean(row)) ** 2 for x in row) / (len(row) - 1))
        return [(x - mean(row)) / deviation for x in row]

    terms = []
    for s, t in pairs(student_logits, teacher_logits):
        terms.append(divergence(softmax(standardised(t), temperature), softmax(standardised(s), temperature)))
    return mean(terms) * (temperature**2 if t_squared else 1)


def plain_skd(
    student_logits: Tensor, teacher_logits: Tensor, instance: float, direction: float, temperature: float,
    tikhonov: float, follow: str,
) -> float:  # fmt: skip
    student, teacher, code = student_logits.tolist(), teacher_logits.tolist(), follow == "code"
    B, C = len(student), len(student[0])
    p = [softmax(t) for t in teacher]
    sure = [max(row) for row in p]
    summed = [sum(row) for row in columns(p)]
    instances = []
    for i in range(B):
        kl = divergence(softmax(teacher[i], temperature), softmax(student[i], temperature))
        if code:
            kl = kl * temperature**2 if sure[i] <= median(sure) else 0.0
        instances.append(kl)
    scale = C if code else 1
    D = [
        [(cosine(student[i], student[j]) - cosine(teacher[i], teacher[j])) / scale for j in range(B)] for i in range(B)
    ]
    means = [mean(each) for each in columns(D)]
    S = [[sum((row[i] - means[i]) * (row[j] - means[j]) for row in D) / max(B - 1, 1) + tikhonov * (i == j)
          for j in range(B)] for i in range(B)]  # fmt: skip
    directions = mean([math.sqrt(max(0.0, sum(a * b for a, b in zip(row, solved(S, row), strict=True)))) for row in D])
    if code:
        directions *= mean([float(value <= median(summed)) for value in summed])
    return instance * mean(instances) + direction * directions


def plain_tfkd(
    student_logits: Tensor, labels: Tensor, correct_probability: float, temperature: float, soften_student: bool
) -> float:
    terms = []
    for s, label in zip(student_logits.tolist(), labels.tolist(), strict=True):
        if label >= 0:
            wrong = (1 - correct_probability) / (len(s) - 1)
            virtual = [correct_probability if k == label else wrong for k in range(len(s))]
            ours = softmax(s, temperature if soften_student else 1.0)
            terms.append(divergence(softmax(virtual, temperature), ours))
    return mean(terms)


def plain_reverse_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float, t_squared: bool) -> float:
    return plain_kd(teacher_logits, student_logits, temperature, t_squared)


def plain_jensen_shannon(
    student_logits: Tensor, teacher_logits: Tensor, beta: float, temperature: float, t_squared: bool
) -> float:
    terms = []
    for s, t in pairs(student_logits, teacher_logits):
        p, q = softmax(t, temperature), softmax(s, temperature)
        m = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
        terms.append(beta * divergence(p, m) + (1 - beta) * divergence(q, m))
    return mean(terms) * (temperature**2 if t_squared else 1)


def plain_skew_kl(
    student_logits: Tensor, teacher_logits: Tensor, direction: str, alpha: float, temperature: float, t_squared: bool
) -> float:
    terms = []
    for s, t in pairs(student_logits, teacher_logits):
        p, q = softmax(t, temperature), softmax(s, temperature)
        first, second = (p, q) if direction == "forward" else (q, p)
        terms.append(divergence(first, [alpha * a + (1 - alpha) * b for a, b in zip(first, second, strict=True)]))
    return mean(terms) * (temperature**2 if t_squared else 1)


def plain_total_variation(student_logits: Tensor, teacher_logits: Tensor) -> float:
    terms = []
    for s, t in pairs(student_logits, teacher_logits):
        terms.append(sum(abs(a - b) for a, b in zip(softmax(t), softmax(s), strict=True)) / 2)
    return mean(terms)


def plain_temperatures(
    student_logits: Tensor, teacher_logits: Tensor, rule: str, temperature: float, beta: float, gamma: float,
    lowest: float,
) -> Row:  # fmt: skip
    if rule == "flsw":
        weights = [(1 - cosine(s, t)) ** gamma for s, t in pairs(student_logits, teacher_logits)]
    else:
        weights = [1 / (max(softmax(s)) + 0.001) for s in student_logits.tolist()]
    return [max(lowest, temperature + beta * (mean(weights) - w)) for w in weights]


def plain_sample_temperature(student_logits: Tensor, teacher_logits: Tensor, t_squared: bool, **settings: Any) -> float:
    temperatures = plain_temperatures(student_logits, teacher_logits, **settings)
    terms = []
    for (s, t), T in zip(pairs(student_logits, teacher_logits), temperatures, strict=True):
        terms.append(divergence(softmax(t, T), softmax(s, T)) * (T**2 if t_squared else 1))
    return mean(terms)


def plain_several_teachers(
    student_logits: Tensor, all_teacher_logits: list[Tensor], mean: str, weights: Row | None, temperature: float,
    t_squared: bool,
) -> float:  # fmt: skip
    weights = weights or [1.0 for _ in all_teacher_logits]
    total = 0.0
    for i, s in enumerate(student_logits.tolist()):
        rows = [teacher[i].tolist() for teacher in all_teacher_logits]
        if mean == "probabilities" and len(s) > 1:
            rows = [softmax(row, temperature) for row in rows]
        p = [sum(w * row[k] for w, row in zip(weights, rows, strict=True)) / sum(weights) for k in range(len(s))]
        if len(s) == 1:
            total += (s[0] - p[0]) ** 2
        else:
            p = p if mean == "probabilities" else softmax(p, temperature)
            total += divergence(p, softmax(s, temperature)) * (temperature**2 if t_squared else 1)
    return total / len(student_logits)


def plain_best_teacher(
    student_logits: Tensor, all_teacher_logits: list[Tensor], labels: Tensor, temperature: float, t_squared: bool
) -> float:
    terms = []
    for i, label in enumerate(labels.tolist()):
        rows = [teacher[i].tolist() for teacher in all_teacher_logits]
        if labels.is_floating_point():
            errors = [(row[0] - label) ** 2 for row in rows]
        else:
            errors = [-logs(row)[label] for row in rows]
        if not math.isnan(label) and (labels.is_floating_point() or label >= 0):
            best = torch.tensor([rows[errors.index(min(errors))]], dtype=torch.float64)
            terms.append(plain_kd(student_logits[i : i + 1], best, temperature, t_squared))
    return mean(terms)


# --- cases -----------------------------------------------------------------------------------------------------------

TWO, FOUR, ONE = logits(2), logits(4), logits(1)

CASES = [
    Case("kd", FOUR, plain_kd, same=SHIFTED, zero=True),
    Case("kd", FOUR, plain_kd, {"temperature": 4.0}, same=SHIFTED, zero=True),
    Case("kd", FOUR, plain_kd, {"temperature": 0.5, "t_squared": False}, same=SHIFTED, zero=True),
    Case("kd", ONE, plain_kd, zero=True, note="scores"),
    Case("hard", labelled(4), plain_hard, same=SHIFTED),
    Case("hard", labelled(4, missing=False), plain_hard, note="all"),
    Case("hard", labelled(1), plain_hard, note="scores"),
    Case("pseudo_label", labelled(4, B_TEACHER), plain_pseudo_label, same=SHIFTED),
    Case("pseudo_label", labelled(1, B_TEACHER), plain_pseudo_label, note="scores"),
    Case("dkd", labelled(4, B_TEACHER), plain_dkd, same=SHIFTED, zero=True),
    Case("dkd", labelled(4, B_TEACHER, missing=False), plain_dkd, {"alpha": 0.5, "beta": 2.0, "temperature": 1.0},
         same=SHIFTED, zero=True),
    Case("dkd", labelled(2, B_TEACHER), plain_dkd, same=SHIFTED, zero=True, note="two"),
    Case("dist", FOUR, plain_dist, same=SHIFTED, zero=True),
    Case("dist", FOUR, plain_dist, {"beta": 2.0, "gamma": 0.5, "temperature": 4.0}, same=SHIFTED, zero=True),
    Case("dist", TWO, plain_dist, same=SHIFTED, zero=True, note="two"),
    Case("dist_plus", with_maps, plain_dist_plus, same=SHIFTED, zero=True),
    Case("dist_plus", with_maps, plain_dist_plus, {"channel": 0.5, "spatial": 2.0, "beta": 2.0, "temperature": 2.0},
         same=SHIFTED, zero=True),
    Case("nkd", labelled(4, B_TEACHER), plain_nkd, same=SHIFTED),
    Case("nkd", labelled(4, B_TEACHER, missing=False), plain_nkd, {"gamma": 3.5, "temperature": 3.0}, same=SHIFTED),
    Case("nkd", labelled(2, B_TEACHER), plain_nkd, same=SHIFTED, note="two"),
    Case("ctkd", with_share(0.0), plain_ctkd, same=SHIFTED, zero=True),
    Case("ctkd", with_share(0.5), plain_ctkd, {"lowest": 2.0, "span": 5.0}, same=SHIFTED, zero=True),
    Case("deit", token, plain_deit),
    Case("deit", token, plain_deit, {"targets": "soft"}),
    Case("logit_standardisation", FOUR, plain_logit_standardisation,
         same=SHIFTED | {"the size of the logits": scaled}, zero=True),
    Case("logit_standardisation", FOUR, plain_logit_standardisation, {"temperature": 1.5, "t_squared": False},
         same=SHIFTED | {"the size of the logits": scaled}, zero=True),
    Case("skd", FOUR, plain_skd, zero=True),
    Case("skd", FOUR, plain_skd, {"follow": "code"}, zero=True),
    Case("skd", logits(5), plain_skd, {"follow": "code", "instance": 0.5, "tikhonov": 0.02}, zero=True),
    Case("skd", FOUR, plain_skd, {"instance": 0.0, "direction": 2.0, "tikhonov": 0.5},
         same={"the size of the logits": scaled}, zero=True),
    Case("skd", FOUR, plain_skd, {"direction": 0.0, "temperature": 2.0}, same=SHIFTED, zero=True),
    Case("tfkd", labelled(4), plain_tfkd, same=SHIFTED),
    Case("tfkd", labelled(4, missing=False), plain_tfkd,
         {"correct_probability": 0.9, "temperature": 0.5, "soften_student": True}, same=SHIFTED),
    Case("tfkd", labelled(2), plain_tfkd, same=SHIFTED, note="two"),
    Case("reverse_kl", FOUR, plain_reverse_kl, same=SHIFTED, zero=True),
    Case("reverse_kl", FOUR, plain_reverse_kl, {"temperature": 3.0, "t_squared": False}, same=SHIFTED, zero=True),
    Case("reverse_kl", ONE, plain_reverse_kl, zero=True, note="scores"),
    Case("jensen_shannon", FOUR, plain_jensen_shannon, same=SHIFTED, zero=True),
    Case("jensen_shannon", FOUR, plain_jensen_shannon, {"beta": 0.1, "temperature": 2.0}, same=SHIFTED, zero=True),
    Case("jensen_shannon", FOUR, plain_jensen_shannon, {"beta": 0.9, "temperature": 2.0, "t_squared": False},
         same=SHIFTED, zero=True),
    Case("skew_kl", FOUR, plain_skew_kl, same=SHIFTED, zero=True),
    Case("skew_kl", FOUR, plain_skew_kl, {"direction": "reverse"}, same=SHIFTED, zero=True),
    Case("skew_kl", FOUR, plain_skew_kl, {"direction": "reverse", "alpha": 0.6, "temperature": 2.0}, same=SHIFTED,
         zero=True),
    Case("skew_kl", FOUR, plain_skew_kl, {"alpha": 0.6, "temperature": 2.0, "t_squared": False}, same=SHIFTED,
         zero=True),
    Case("total_variation", FOUR, plain_total_variation, same=SHIFTED, zero=True),
    Case("sample_temperature", FOUR, plain_sample_temperature, zero=True, whole_gradient=False),
    Case("sample_temperature", FOUR, plain_sample_temperature, {"beta": 2.0, "gamma": 2.0, "t_squared": True},
         zero=True, whole_gradient=False),
    Case("sample_temperature", logits(8, 3.0), plain_sample_temperature, {"rule": "cwsm"}, same=SHIFTED, zero=True,
         whole_gradient=False),
    Case("sample_temperature", logits(8, 3.0), plain_sample_temperature,
         {"rule": "cwsm", "beta": 4.0, "temperature": 3.0, "lowest": 0.5}, same=SHIFTED, zero=True,
         whole_gradient=False),
    Case("several_teachers", teachers(4), plain_several_teachers, same=SHIFTED),
    Case("several_teachers", teachers(4), plain_several_teachers,
         {"mean": "probabilities", "temperature": 3.0, "weights": [0.5, 2.0, 1.0]}, same=SHIFTED),
    Case("several_teachers", teachers(4), plain_several_teachers,
         {"weights": [1.0, 2.0, 3.0], "temperature": 2.0, "t_squared": False}, same=SHIFTED),
    Case("several_teachers", teachers(1), plain_several_teachers, {"weights": [1.0, 2.0, 3.0]}, note="scores"),
    Case("best_teacher", labelled(4, "all_teacher_logits"), plain_best_teacher, same=SHIFTED),
    Case("best_teacher", labelled(4, "all_teacher_logits", missing=False), plain_best_teacher,
         {"temperature": 4.0, "t_squared": False}, same=SHIFTED),
    Case("best_teacher", labelled(1, "all_teacher_logits"), plain_best_teacher, note="scores"),
]  # fmt: skip
