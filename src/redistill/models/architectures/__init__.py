"""One file an architecture, built from its settings."""
