# Tables, submissions, and the study as it is published to results/.


rule make_table:
    input:
        inputs,
    output:
        f"store/results/{{key,{keys('table')}}}/done.json",
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
        "Make table: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule make_submission:
    input:
        inputs,
    output:
        f"store/results/{{key,{keys('submission')}}}/done.json",
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
        "Make {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule make_scores:
    input:
        inputs,
    output:
        f"store/results/{{key,{keys('scores')}}}/done.json",
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
        "Make table: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule publish:
    input:
        inputs,
    output:
        f"store/results/{{key,{keys('study')}}}/done.json",
    log:
        "store/work/logs/{key}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        make=MAKE,
        title=title,
    message:
        "Publish: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule publish_again:
    input:
        ancient(done(PLAN.target)),
    output:
        temp(touch("store/work/published/{key}")),
    log:
        "store/work/logs/published-{key}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        publish=f"{PYTHON} -m redistill publish",
        study=STUDY,
    message:
        "Put results/{params.study} right"
    shell:
        "{params.publish} {params.study} > {log} 2>&1"
