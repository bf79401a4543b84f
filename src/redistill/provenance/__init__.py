"""Keys, the store, manifests, records and audit."""
