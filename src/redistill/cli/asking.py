"""Commands that ask what a number came from and what depends on it."""

PANEL = "Trust"
