"""A study's provenance in the forms that others read: RO-Crate, PROV, SLSA statements, Croissant, and who owns what."""
