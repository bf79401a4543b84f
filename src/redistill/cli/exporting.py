"""Commands that write a study's provenance in the forms that others read."""

PANEL = "Share"
