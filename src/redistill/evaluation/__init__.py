"""Metrics from stored predictions; needs no torch."""
