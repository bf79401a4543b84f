"""Loading, initialising and tapping models. One file an architecture, one a baseline."""

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model",
)  # fmt: skip
