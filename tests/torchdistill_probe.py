"""What torchdistill itself makes of a config, for its own Python: torchdistill_probe.py CONFIG GIVEN OUT

Of every stage: the value of every term, weighted; what its hooks kept; the weights of the modules beside the models.
"""

import sys

import torch
from torchdistill.common.yaml_util import load_yaml_file
from torchdistill.core.interfaces.registry import get_forward_proc_func
from torchdistill.core.util import extract_io_dict, set_hooks, update_io_dict
from torchdistill.losses.registry import get_high_level_loss
from torchdistill.models.official import *  # noqa: F403 - registers its models
from torchdistill.models.registry import get_model
from torchdistill.models.util import redesign_model
from torchdistill.models.wrapper import AuxiliaryModelWrapper, build_auxiliary_model_wrapper

SIDES = ("student", "teacher")
CPU = torch.device("cpu")


def stage(config, models, given):
    kept, beside = {}, {}
    for side in SIDES:
        kept[side], beside[side] = seen(config[side], side, models[side], given)
    criterion = get_high_level_loss(config["criterion"])
    labels = given["labels"]
    values, remembered = {}, {}
    for name, (loss, factor) in criterion.term_dict.items():
        remembered[name] = {key: value.clone() for key, value in loss.state_dict().items()}
        values[name] = factor * loss(kept["student"], kept["teacher"], labels).item()
    tensors = {side: flat(kept[side]) for side in SIDES}
    return {"values": values, "tensors": tensors, "beside": beside, "remembered": remembered}


def seen(config, side, model, given):
    """What the hooks of a side keep of a batch, and the weights of what is beside the model."""
    reference = build_auxiliary_model_wrapper(config, **{f"{side}_model": model}, device=CPU, device_ids=None,
                                              distributed=False) or model  # fmt: skip
    whole = redesign_model(reference, config, side, "probe")
    kept = {".": {}}  # the model as a whole, by torchdistill's name for it
    set_hooks(whole, reference, config, kept)
    forward = config.get("forward_proc", "forward_batch_only")
    images = given["turned" if forward == "forward_batch4sskd" else "images"]
    output = get_forward_proc_func(forward)(whole, images, None, given["beside"])
    found = extract_io_dict(kept, CPU)
    found["."]["output"] = output
    if isinstance(whole, AuxiliaryModelWrapper):
        whole.secondary_forward(found)
    update_io_dict(found, extract_io_dict(kept, CPU))
    own = {key: value.clone() for key, value in whole.state_dict().items() if not of_the_model(key, model, whole)}
    return found, own


def of_the_model(key, model, whole):
    shared = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return id(dict([*whole.named_parameters(), *whole.named_buffers()])[key]) in shared


def flat(kept):
    """Tensors as `PATH:input` and `PATH:output`."""
    return {
        f"{path}:{io}": value.detach().clone()
        for path, both in kept.items() for io, value in both.items() if isinstance(value, torch.Tensor)
    }  # fmt: skip


def main(file, given, out):
    config, given = load_yaml_file(file), torch.load(given)
    torch.manual_seed(0)
    said = {side: config["models"][f"{side}_model"] for side in SIDES}
    models = {side: get_model(model["key"], **model["kwargs"]) for side, model in said.items()}
    train = config["train"]
    torch.save([stage(train[name], models, given) for name in train if name.startswith("stage")], out)


if __name__ == "__main__":
    main(*sys.argv[1:])
