# Tables, and the study as it is published to results/.


rule make_table:
    input:
        inputs,
    output:
        "store/results/{key}/done.json",
    log:
        "store/work/logs/{key}.log",
    benchmark:
        "store/work/benchmarks/{key}.tsv"
    wildcard_constraints:
        key=keys("table"),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        title=title,
    message:
        "Make table: {params.title}"
    shell:
        "{MAKE} {wildcards.key} > {log} 2>&1"



rule publish:
    input:
        inputs,
    output:
        "store/results/{key}/done.json",
    log:
        "store/work/logs/{key}.log",
    benchmark:
        "store/work/benchmarks/{key}.tsv"
    wildcard_constraints:
        key=keys("study"),
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        title=title,
    message:
        "Publish: {params.title}"
    shell:
        "{MAKE} {wildcards.key} > {log} 2>&1"
