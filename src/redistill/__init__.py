"""redistill: reproducible knowledge-distillation studies, from data to audited tables."""

__version__ = "0.1.0"
