# Data sets: fetched and verified, split, tokenised.


rule fetch_data:
    input:
        inputs,
    output:
        f"store/data/{{key,{keys('data')}}}/done.json",
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
        "Fetch data: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule prepare:
    input:
        inputs,
    output:
        f"store/data/{{key,{keys('dataset')}}}/done.json",
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
        "Split: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule tokenise:
    input:
        inputs,
    output:
        f"store/data/{{key,{keys('tokens')}}}/done.json",
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
        "Tokenise: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"
