"""Every table of a study: `snakemake --cores all`, or `--config study=NAME` for another than `embedded`.

With the tables comes results/NAME/report.html, unless `--config report=no` leaves it out.

With `--config remote=NAME`, what others have pushed to that remote of DVC's is brought before anything is made. With
`--sdm apptainer`, jobs run in redistill.sif, or in what `--config image=NAME` names.
"""

import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

try:
    from redistill import container
    from redistill.errors import RedistillError
    from redistill.jobs import begin, bring, keep_warm, to_publish, to_show
    from redistill.patterns import pattern
    from redistill.performance.asked import Asked
    from redistill.plan import make_plan
    from redistill.specification import write_specifications
    from redistill.status import say_what_failed
except ModuleNotFoundError as error:
    print(f"redistill: the package `{error.name}` is not installed for {sys.executable}", file=sys.stderr)
    print("Use .venv/bin/snakemake, which `make setup` makes. Nothing was started.", file=sys.stderr)
    sys.exit(2)

STUDY = config.get("study", "embedded")
REPORTED = str(config.get("report", True)).lower() not in ("no", "false", "0")
TRUST = " --trust-plugins" if config.get("trust_plugins") else ""
CONTAINED = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method

try:
    IMAGE = container.image(Path(workflow.basedir), config.get("image")) if CONTAINED else None
    PYTHON = container.python(Path(workflow.basedir), IMAGE)
    PLAN = make_plan(Path(workflow.basedir), STUDY)
    if workflow.is_main_process:
        if config.get("remote") and not workflow.output_settings.dryrun:
            bring(PLAN, config["remote"])
        begin(PLAN, here=workflow.local_exec and not IMAGE and not workflow.output_settings.dryrun)
except RedistillError as error:
    print(f"{error}\nNothing was started.", file=sys.stderr)
    sys.exit(2)
write_specifications(PLAN)
MAKE = f"{PYTHON} -m redistill.job make{TRUST}"

if IMAGE:

    containerized: IMAGE


resource_scopes:
    together="local",  # of a cluster's submission: small jobs in it that run at once


include: "workflow/rules/plan.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/students.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"


localrules:  # nodes of a cluster often reach no network
    all,
    fetch_data,
    fetch_model,
    show_report,


onerror:
    if workflow.is_main_process:
        say_what_failed(PLAN)


onstart:
    if workflow.is_main_process and workflow.local_exec and not IMAGE:
        keep_warm(PLAN)


rule all:
    input:
        ancient(done(PLAN.target)),
        published_again(),
        reports("report.html"),
        shown_again(),
