# Pretrained models: fetched and verified.


rule fetch_model:
    input:
        inputs,
    output:
        f"store/models/{{key,{keys('model')}}}/done.json",
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
        "Fetch model: {params.title}"
    shell:
        "{params.make} {wildcards.key} > {log} 2>&1"
