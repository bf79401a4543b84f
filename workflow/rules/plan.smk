# What the rules ask of the plan.


def done(node):
    """The file that says that a thing is there: all that Snakemake is told of it."""
    return f"store/{node.area}/{node.key}/done.json"


def keys(kind):
    """Pattern of the keys of a kind of things; each rule makes its own."""
    return pattern(PLAN, kind)


def inputs(wildcards):
    """What a thing is made of. Ancient: keys say what is new, times do not matter."""
    return [ancient(done(PLAN.nodes[key])) for key in PLAN.nodes[wildcards.key].inputs.values()]


def published_again():
    """What to ask for when the study is made and results/ shows another."""
    return f"store/work/published/{PLAN.target.key}" if to_publish(PLAN) else []


REPORTS = f"store/reports/{{key,{keys('study')}}}"


def reports(part):
    """What to ask for, so that a study has its report when it is made; `--config report=no` leaves it out. A study that
    was pulled is whole without one: `redistill report` makes it.
    """
    made = f"store/reports/{PLAN.target.key}/{part}"
    if not REPORTED or (Path(done(PLAN.target)).exists() and not Path(made).exists()):
        return []
    return made


def shown_again():
    """What to ask for when the report is made and results/ shows another, or none."""
    if REPORTED and workflow.is_main_process and to_show(PLAN):
        return f"store/work/shown/{PLAN.target.key}"
    return []


def title(wildcards):
    return PLAN.nodes[wildcards.key].title


# What a job asks for: what such jobs took before, and more when it is tried again. docs/clusters.md

ASKED = Asked(PLAN, remote=not workflow.is_main_process)


def cores(wildcards):
    return ASKED.cores(wildcards.key)


def memory(wildcards, attempt):
    return ASKED.memory(wildcards.key, attempt)


def minutes(wildcards, attempt):
    return ASKED.minutes(wildcards.key, attempt)


def gpus(wildcards):
    return ASKED.gpus(wildcards.key)
