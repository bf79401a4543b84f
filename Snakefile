"""Every table of a study: `snakemake --cores all`, or `--config study=NAME` for another than `embedded`.

With `--config remote=NAME`, what others have pushed to that remote of DVC's is brought before anything is made.
"""

import sys
from pathlib import Path

from redistill.errors import RedistillError
from redistill.jobs import begin, bring, keep_warm, to_publish
from redistill.patterns import pattern
from redistill.performance.asked import Asked
from redistill.plan import make_plan
from redistill.specification import write_specifications

STUDY = config.get("study", "embedded")
TRUST = " --trust-plugins" if config.get("trust_plugins") else ""
MAKE = f"exec {sys.executable} -m redistill.job make{TRUST}"

try:
    PLAN = make_plan(Path(workflow.basedir), STUDY)
    if workflow.is_main_process:
        if config.get("remote") and not workflow.output_settings.dryrun:
            bring(PLAN, config["remote"])
        begin(PLAN)
except RedistillError as error:
    print(f"{error}\nNothing was started.", file=sys.stderr)
    sys.exit(2)
write_specifications(PLAN)


include: "workflow/rules/plan.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/students.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/tables.smk"


localrules:  # nodes of a cluster often reach no network
    all,
    fetch_data,
    fetch_model,


onstart:
    if workflow.is_main_process and workflow.local_exec:
        keep_warm(PLAN)


rule all:
    input:
        ancient(done(PLAN.target)),
        published_again(),
