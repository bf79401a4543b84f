"""Loading, initialising and tapping models. One file an architecture, one a baseline."""
