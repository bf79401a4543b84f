# What the rules ask of the plan.


def done(node):
    """The file that says that a thing is there: all that Snakemake is told of it."""
    return str(node.folder(Path()) / "done.json")


def keys(*kinds):
    """Pattern of the keys of some kinds of things; each rule makes its own."""
    found = [node.key for node in PLAN.nodes.values() if node.kind in kinds]
    return "|".join(found) or "none"


def inputs(wildcards):
    """What a thing is made of. Ancient: keys say what is new, times do not matter."""
    return [ancient(done(PLAN.nodes[key])) for key in PLAN.nodes[wildcards.key].inputs.values()]


def published_again():
    """What to ask for when the study is made and results/ shows another."""
    return f"store/work/published/{PLAN.target.key}" if to_publish(PLAN) else []


def title(wildcards):
    return PLAN.nodes[wildcards.key].title
