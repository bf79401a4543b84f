"""One file an auxiliary module: what stands beside the models in training, built from the shapes at its taps."""
