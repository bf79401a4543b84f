# The study as people look at it: one page, and its tables and pictures, which Snakemake's own report has too.


rule report:
    input:
        ancient(done(PLAN.target)),
        published_again(),
    output:
        page=report(
            f"{REPORTS}/report.html",
            caption="../report/page.rst",
            category="The study as one page",
        ),
        tables=report(
            directory(f"{REPORTS}/tables"),
            patterns=["{table}.csv"],
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        pictures=report(
            directory(f"{REPORTS}/pictures"),
            patterns=["{picture}.svg"],
            caption="../report/picture.rst",
            category="Pictures",
            labels={"picture": "{picture}"},
        ),
    log:
        "store/work/logs/report-{key}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        report=f"{PYTHON} -m redistill report",
        study=STUDY,
    message:
        "Report: {params.study}"
    shell:
        "{params.report} {params.study} --parts $(dirname {output.page}) > {log} 2>&1"


rule show_report:
    input:
        ancient(f"{REPORTS}/report.html"),
    output:
        temp(touch("store/work/shown/{key}")),
    log:
        "store/work/logs/shown-{key}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        page=f"results/{STUDY}/report.html",
    message:
        "Put {params.page} right"
    shell:
        "cp {input} {params.page} > {log} 2>&1"
