"""A published study in which everything that data can say tries to be more than text."""

from pathlib import Path
from unittest.mock import patch

import published_study as of

SCRIPT = "<script>alert(1)</script>"
END = "</script><img src=x onerror=alert(2)>"
QUOTE = '" onmouseover="alert(3)" x=\''
LINK = "javascript:alert(4)"
TEMPLATE = "{{ 7 * 7 }} ${alert(5)} <!-- --> ]]>"
BAD_WORDS = (SCRIPT, END, QUOTE, LINK, TEMPLATE)


def hostile_study(root: Path) -> Path:
    """Make it below `root`, which must not exist: in titles, labels, classes, texts, licences and citations."""
    quoted = {word: "'" + word.replace("'", "''") + "'" for word in BAD_WORDS}
    configs = dict(of.CONFIGS)
    configs["tasks/words"] = (
        configs["tasks/words"].replace("labels: [bad, good]", f"labels: [{quoted[SCRIPT]}, {quoted[LINK]}]")
        .replace("title: Words", f"title: {quoted[TEMPLATE]}")
    )  # fmt: skip
    configs["experiments/reader"] = configs["experiments/reader"].replace("label: Reader", f"label: {quoted[QUOTE]}")
    configs["experiments/heard"] = f"""
extends: reader
label: {quoted[END]}
teacher: {{experiment: reader}}
set:
  stages.0.loss:
    hard: {{method: hard, weight: 0.5}}
    soft: {{method: kd, weight: 0.5, temperature: 4.0}}
"""
    configs["studies/small"] = (
        configs["studies/small"].replace("title: Small", f"title: {quoted[END]}")
        .replace("title: Texts", f"title: {quoted[SCRIPT]}")
        .replace("      - {experiment: reader}\n", "      - {experiment: reader}\n      - {experiment: heard}\n")
    )  # fmt: skip
    licences = dict.fromkeys(of.LICENCES, f"{SCRIPT} {LINK}")
    words = [*BAD_WORDS, *of.SAID]
    with patch.multiple(of, CONFIGS=configs, LICENCES=licences, SAID=words):
        of.publish_study(root, content=4)
    return root
