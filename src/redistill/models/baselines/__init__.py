"""One file a baseline: what is fitted rather than trained, the floor of a table."""
