# Teachers: fine-tuned, and what they say stored for all their students.


rule train_teacher:
    input:
        inputs,
    output:
        f"store/runs/{{key,{keys('teacher')}}}/done.json",
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
        "Train teacher: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"


rule store_outputs:
    input:
        inputs,
    output:
        f"store/outputs/{{key,{keys('outputs')}}}/done.json",
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
        "Store teacher outputs: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"
