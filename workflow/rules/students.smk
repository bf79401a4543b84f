# Students: fine-tuned or distilled; and baselines, the floor that they must clear.


rule train_student:
    input:
        inputs,
    output:
        f"store/runs/{{key,{keys('student')}}}/done.json",
    log:
        "store/work/logs/{key}.log",
    conda:
        "../../envs/environment.yaml"
    threads: cores
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=gpus,
    params:
        make=MAKE,
        title=title,
    message:
        "Train student: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule fit_baseline:
    input:
        inputs,
    output:
        f"store/runs/{{key,{keys('baseline')}}}/done.json",
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
        "Fit baseline: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"
