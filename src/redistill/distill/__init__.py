"""One file a loss, each a plain function of tensors; and teacher outputs, which are made once and shared."""
