"""Families of text models, each through the project's own functions: chosen layers, taps, logits, gradients, files."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from redistill.errors import RedistillError
from redistill.models import load, text
from redistill.models.taps import tapped

TASK = {"type": "classification", "input": "text", "labels": ["no", "yes", "perhaps"], "image_shape": None}
RUNTIME = {"portable": False, "device": "cpu"}
DEPTH, HIDDEN = 4, 32
SHAPE = {
    "vocab_size": 100, "hidden_size": HIDDEN, "num_hidden_layers": DEPTH, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 40,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},  # MiniLM is of this family
    "roberta": {"pad_token_id": 1, "type_vocab_size": 1},
    "xlm-roberta": {"pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {"dim": HIDDEN, "hidden_dim": 64, "n_layers": DEPTH, "n_heads": 4},
    "electra": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "max_relative_positions": -1,
        "type_vocab_size": 0,
    },
    "modernbert": {
        "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
        "global_attn_every_n_layers": 3, "local_attention": 4,
    },
}  # fmt: skip
LAYERS = {"distilbert": "transformer.layer", "modernbert": "layers"}  # of the encoder; `encoder.layer` of the others
INNER = {"distilbert": "distilbert", "deberta-v2": "deberta", "modernbert": "model", "xlm-roberta": "roberta"}
NEVER = ("modernbert", "pretraining")  # transformers has no such model
POOLED = ("bert",)  # their classifiers read a pooler that is of the encoder
FORMS: dict[str, Callable[[Any], PreTrainedModel]] = {
    "bare": AutoModel.from_config, "masked": AutoModelForMaskedLM.from_config,
    "pretraining": AutoModelForPreTraining.from_config, "classifier": AutoModelForSequenceClassification.from_config,
}  # fmt: skip


def config_of(family: str) -> Any:
    return AutoConfig.for_model(family, **{**SHAPE, **FAMILIES[family]})


def chosen(family: str) -> list[int]:
    return [0, 2] if family in text.FIRST_DIFFERS else [1, 3]


def layers_of(family: str) -> str:
    return f"{INNER.get(family, family)}.{LAYERS.get(family, 'encoder.layer')}"


def pretrained(family: str, folder: Path, form: str = "masked") -> Path:
    """A model with weights that differ all over, norms and biases too, as `save_pretrained` writes it."""
    torch.manual_seed(3)
    model = FORMS[form](config_of(family))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def started(family: str, folder: Path, layers: list[int] | None = None, seed: int = 5) -> PreTrainedModel:
    start = {"layers": layers, "head": False, "random": False, "fresh": []}
    model = load.build({"architecture": None, "start": start}, TASK, RUNTIME, folder, seed)
    assert isinstance(model, PreTrainedModel)
    return model


def batch(family: str, padding: int | None = None) -> dict[str, Tensor]:
    """Texts of several lengths, padded with 0 as the project does, or with another token."""
    ids = torch.randint(4, 100, (5, 13), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    for row, length in enumerate((13, 9, 4, 12, 2)):
        mask[row, length:] = 0
    ids = torch.where(mask == 1, ids, 0 if padding is None else padding)
    return {"input_ids": ids, "attention_mask": mask}


def without_dropout(model: nn.Module) -> nn.Module:
    return model.train().requires_grad_().eval()


def opened(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """What transformers opens of a saved model, with its plain attention."""
    text.save(model, folder, folder)
    theirs: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    return theirs.eval()


# --- starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "form"), [pair for pair in itertools.product(FAMILIES, FORMS) if pair != NEVER])
def test_a_student_has_the_embeddings_and_the_chosen_layers_of_its_start(
    family: str, form: str, tmp_path: Path
) -> None:
    weights = load_file(pretrained(family, tmp_path, form) / "model.safetensors")
    taken, model = chosen(family), started(family, tmp_path, chosen(family))
    inner = getattr(model, model.base_model_prefix).state_dict()
    bare = {name.removeprefix(f"{model.base_model_prefix}."): tensor for name, tensor in weights.items()}
    compared = 0
    for name, tensor in inner.items():
        layer = text._LAYER.search(name)
        said = name if not layer else name.replace(f"{layer[1]}{layer[2]}.", f"{layer[1]}{taken[int(layer[2])]}.")
        if name.startswith("pooler.") and said not in bare:
            assert family in POOLED
            continue
        assert torch.equal(tensor, bare[said]), name
        compared += 1
    assert compared >= len(bare) // 3
    assert model.config.num_hidden_layers == len(taken)
    depth = {int(found[2]) for name in inner if (found := text._LAYER.search(name))}
    assert depth == {0, 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_is_drawn_from_the_seed(family: str, tmp_path: Path) -> None:
    pretrained(family, tmp_path, "classifier")
    before = load_file(tmp_path / "model.safetensors")
    one, again, other = (started(family, tmp_path, seed=seed).state_dict() for seed in (5, 5, 6))
    head = [n for n in one if not n.startswith(f"{INNER.get(family, family)}.") and n.endswith("weight")]
    head = [n for n in head if "norm" not in n]
    assert head
    for name in head:
        assert torch.equal(one[name], again[name]), name
        assert not torch.equal(one[name], other[name]), name
        assert not torch.equal(one[name], before.get(name, torch.zeros(0))), name


def test_a_pooler_that_is_not_there_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    pretrained("bert", tmp_path, "masked")
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    assert not any("pooler" in name for name in weights)
    poolers = [started("bert", tmp_path, seed=seed).bert.pooler.dense.weight for seed in (5, 5, 6)]  # type: ignore[union-attr]
    assert torch.equal(poolers[0], poolers[1])
    assert not torch.equal(poolers[0], poolers[2])
    save_file(weights | {"bert.pooler.dense.weight": torch.ones(HIDDEN, HIDDEN)}, file, {"format": "pt"})
    with pytest.raises(RedistillError, match=r"lack pooler\.dense\.bias and 0 more"):
        started("bert", tmp_path)
    lost = "bert.encoder.layer.1.output.dense.bias"
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(RedistillError, match=r"lack encoder\.layer\.1\.output\.dense\.bias and 0 more"):
        started("bert", tmp_path)


def test_what_kind_of_attention_a_layer_has_goes_with_it(tmp_path: Path) -> None:
    pretrained("modernbert", tmp_path)
    kinds = config_of("modernbert").layer_types
    assert kinds == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    model = started("modernbert", tmp_path, [0, 3, 2])
    assert model.config.layer_types == ["full_attention", "full_attention", "sliding_attention"]
    theirs = opened(model.eval(), tmp_path / "saved")
    assert theirs.config.layer_types == model.config.layer_types
    torch.testing.assert_close(load.logits_of(theirs, batch("bert")), load.logits_of(model, batch("bert")))


@pytest.mark.parametrize("layers", [[1, 3], [0, 0, 1], [2, 0]])
def test_a_first_layer_that_is_unlike_the_others_stays_the_first(layers: list[int]) -> None:
    with pytest.raises(RedistillError, match="layer 0 must be the first of `layers`, and only there; they are"):
        text.shortened(config_of("modernbert"), layers)


def test_layers_of_a_model_that_is_no_stack_of_them_are_refused() -> None:
    with pytest.raises(RedistillError, match="of a `funnel` no layers can be chosen: leave `layers` out"):
        text.shortened(AutoConfig.for_model("funnel"), [1])


def test_a_family_without_a_classifier_is_refused() -> None:
    for values in ({"model_type": "vit"}, {"model_type": "clip"}, {"model_type": "nothing-of-that-name"}, {}):
        with pytest.raises(RedistillError, match="no (sequence classifier|transformer) can be built"):
            text.from_config(text.config_of(values), TASK)
    for family in ("bart", "t5"):
        with pytest.raises(RedistillError, match=f"`{family}` has an encoder and a decoder"):
            text.from_config(text.config_of({"model_type": family}), TASK)


# --- what they compute -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_can_be_tapped_at_both_ends(family: str, tmp_path: Path) -> None:
    model = started(family, pretrained(family, tmp_path)).eval()
    layers = layers_of(family)
    taps = [f"{layers}.{i}{side}" for i in range(DEPTH) for side in ("", ":input")]
    with tapped(model, taps, "student") as captured:
        load.logits_of(model, batch(family))
    assert {tap: tuple(tensor.shape) for tap, tensor in captured.items()} == dict.fromkeys(taps, (5, 13, HIDDEN))
    for i in range(1, DEPTH):
        assert torch.equal(captured[f"{layers}.{i}:input"], captured[f"{layers}.{i - 1}"])


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_what_transformers_opens(family: str, tmp_path: Path) -> None:
    model = started(family, pretrained(family, tmp_path), chosen(family)).eval()
    theirs = opened(model, tmp_path / "saved")
    again = load.placed(text.load_run(tmp_path / "saved"), RUNTIME).eval()
    padding = model.config.pad_token_id
    expected = theirs(**batch(family, padding)).logits
    for mine in (model, again):
        torch.testing.assert_close(load.logits_of(mine, batch(family)), expected, atol=1e-5, rtol=0)
    alone = batch(family)
    for row, length in enumerate((13, 9, 4, 12, 2)):
        one = {name: tensor[row : row + 1, :length] for name, tensor in alone.items()}
        torch.testing.assert_close(load.logits_of(model, one)[0], expected[row], atol=1e-5, rtol=0)
    labels = torch.tensor([0, 1, 2, 1, 0])
    for logits in (load.logits_of(model, alone), expected):
        nn.functional.cross_entropy(logits, labels).backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in model.named_parameters():
        wanted = gradients[name].grad
        assert (parameter.grad is None) == (wanted is None), name
        if parameter.grad is not None and not name.endswith("embeddings.weight"):
            torch.testing.assert_close(parameter.grad, wanted, atol=1e-5, rtol=1e-4)
    table, wanted = model.get_input_embeddings().weight.grad, theirs.get_input_embeddings().weight.grad
    assert table is not None
    assert wanted is not None
    used = alone["input_ids"].unique()[1:]
    torch.testing.assert_close(table[used], wanted[used], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_models_that_tell_two_texts_apart_are_told(family: str, tmp_path: Path) -> None:
    model = started(family, pretrained(family, tmp_path)).eval()
    plain, pairs = batch(family), batch(family)
    pairs["token_type_ids"] = (torch.arange(13) > 1).long().expand(5, 13)
    told = not torch.equal(load.logits_of(model, plain), load.logits_of(model, pairs))
    assert told == (family in ("bert", "electra"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_of_the_greatest_length_fits_and_a_longer_one_does_not(family: str, tmp_path: Path) -> None:
    model = started(family, pretrained(family, tmp_path)).eval()
    limit = load.longest(model)
    assert limit == (38 if "roberta" in family else 40)
    for padded in (0, 3):
        ids = torch.full((1, limit), 7)
        mask = torch.ones_like(ids)
        ids[:, limit - padded :], mask[:, limit - padded :] = 0, 0
        assert load.logits_of(model, {"input_ids": ids, "attention_mask": mask}).isfinite().all()
    if family not in ("deberta-v2", "modernbert"):  # these have no table of positions
        with pytest.raises((IndexError, RuntimeError)):
            load.logits_of(model, {"input_ids": torch.full((1, limit + 1), 7)})


# --- files -----------------------------------------------------------------------------------------------------------


WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "good", "bad", "film"]
KINDS: dict[str, Callable[[], Any]] = {
    "roberta": lambda: models.BPE({word: i for i, word in enumerate(WORDS)}, [], unk_token="[UNK]"),
    "xlm-roberta": lambda: models.Unigram([(word, -float(i)) for i, word in enumerate(WORDS)], unk_id=3),
    "deberta-v2": lambda: models.Unigram([(word, -float(i)) for i, word in enumerate(WORDS)], unk_id=3),
    "modernbert": lambda: models.BPE({word: i for i, word in enumerate(WORDS)}, [], unk_token="[UNK]"),
}


def tokenizer_file(family: str, folder: Path) -> None:
    """A tokenizer of a few words, of the family's kind, as tokenizer.json alone."""
    wordpiece = models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    made = Tokenizer(KINDS.get(family, lambda: wordpiece)())
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    made.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_has_a_tokenizer_and_the_names_of_the_labels(family: str, tmp_path: Path) -> None:
    tokenizer_file(family, tmp_path)
    model = started(family, pretrained(family, tmp_path), chosen(family))
    text.save(model, tmp_path, tmp_path / "saved")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert theirs.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert [tokenizer.get_vocab()[word] for word in WORDS] == list(range(len(WORDS)))
    assert len(tokenizer("good film")["input_ids"]) >= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_passed_through_without_weights(family: str) -> None:
    with torch.device("meta"):
        config, _ = text.shortened(text.config_of(config_of(family).to_dict()), chosen(family))
        model = text.from_config(config, TASK).eval()
        layers = [f"{layers_of(family)}.{i}" for i in range(2)]
        with tapped(model, layers, "student") as captured:
            ids = torch.zeros(2, 8, dtype=torch.long)
            logits = load.logits_of(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    assert logits.shape == (2, 3)
    assert [captured[layer].shape for layer in layers] == [(2, 8, HIDDEN)] * 2


# --- a head that is taken --------------------------------------------------------------------------------------------


def classifier(family: str, folder: Path, labels: list[str] | None) -> Path:
    """A pretrained sequence classifier whose outputs have these names, or none."""
    config = config_of(family)
    config.num_labels = 3
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def with_head(folder: Path, task: dict[str, Any] = TASK, layers: list[int] | None = None) -> PreTrainedModel:
    start = {"layers": layers, "head": True, "random": False, "fresh": []}
    model = load.build({"architecture": None, "start": start}, task, RUNTIME, folder, 0).eval()
    assert isinstance(model, PreTrainedModel)
    return model


@pytest.mark.parametrize("labels", [None, ["no", "yes", "perhaps"], ["Perhaps", "NO", "Yes"]], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_is_taken_says_what_it_said_in_the_task_s_order(
    family: str, labels: list[str] | None, tmp_path: Path
) -> None:
    theirs = AutoModelForSequenceClassification.from_pretrained(classifier(family, tmp_path, labels)).eval()
    order = [[label.lower() for label in labels or TASK["labels"]].index(label) for label in TASK["labels"]]
    expected = load.logits_of(theirs, batch(family))[:, order]
    model = with_head(tmp_path)
    torch.testing.assert_close(load.logits_of(model, batch(family)), expected, atol=1e-5, rtol=0)
    again = opened(model, tmp_path / "saved")
    assert again.config.id2label == dict(enumerate(TASK["labels"]))
    torch.testing.assert_close(load.logits_of(again, batch(family)), expected, atol=1e-5, rtol=0)


def test_a_head_is_taken_with_chosen_layers(tmp_path: Path) -> None:
    weights = load_file(classifier("bert", tmp_path, None) / "model.safetensors")
    state = with_head(tmp_path, layers=[1, 3]).state_dict()
    assert torch.equal(state["classifier.weight"], weights["classifier.weight"])
    key = "bert.encoder.layer.{}.output.dense.weight"
    assert torch.equal(state[key.format(1)], weights[key.format(3)])


def test_a_head_of_one_score_is_taken_for_a_regression(tmp_path: Path) -> None:
    config = config_of("bert")
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    model = with_head(tmp_path, {**TASK, "type": "regression", "labels": []})
    assert load.logits_of(model, batch("bert")).shape == (5, 1)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["no", "yes", "maybe"], "the head's labels are `no`, `yes`, `maybe`, and the task's `no`, `yes`, `perhaps`"),
        (["no", "yes"], "the head's labels are `no`, `yes`, and the task's `no`, `yes`, `perhaps`"),
        (["LABEL_0", "LABEL_1"], "the head's labels are `LABEL_0`, `LABEL_1`, and"),
        (["LABEL_1", "LABEL_0", "LABEL_2"], "the head's labels are `LABEL_1`"),
        (["no", "yes", "NO"], "the head's labels are `no`, `yes`, `NO`"),
    ],
)
def test_a_head_of_other_labels_is_refused_with_both_lists(labels: list[str], words: str) -> None:
    with pytest.raises(RedistillError) as caught:
        text.order_of_labels(labels, TASK)
    assert words in str(caught.value)
    assert "leave `head` out" in str(caught.value)


def test_labels_that_differ_in_case_alone_are_taken_in_the_same_order_only() -> None:
    task = {**TASK, "labels": ["a", "A"]}
    assert text.order_of_labels(["a", "A"], task) == [0, 1]
    with pytest.raises(RedistillError, match="the head's labels are `A`, `a`, and the task's `a`, `A`"):
        text.order_of_labels(["A", "a"], task)


@pytest.mark.parametrize("form", ["masked", "bare"])
def test_weights_without_a_head_are_refused(form: str, tmp_path: Path) -> None:
    pretrained("roberta", tmp_path, form)
    task = {**TASK, "labels": ["a", "b"]}
    with pytest.raises(RedistillError, match=r"have no head for this task: `classifier\..*leave `head` out"):
        with_head(tmp_path, task)
