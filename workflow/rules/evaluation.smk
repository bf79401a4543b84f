# Metrics of each cell, from stored predictions; and the choice among the trials of a row, where it is made before the
# runs that are reported.


rule evaluate:
    input:
        inputs,
    output:
        f"store/results/{{key,{keys('cell')}}}/done.json",
    log:
        "store/work/logs/{key}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory,
        runtime=minutes,
        together=1,
    params:
        make=MAKE,
        title=title,
    message:
        "Evaluate: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


use rule evaluate as choose with:
    output:
        f"store/results/{{key,{keys('choice')}}}/done.json",
    message:
        "Choose: {params.title}"
