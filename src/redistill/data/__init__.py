"""Sources, splits, tokens and batches."""
