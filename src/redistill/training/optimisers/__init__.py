"""One file an optimiser: parameter groups in, an optimiser of torch out."""
