"""What a study can be asked: why a number is what it is, what depends on what, what changed, what is stale."""
