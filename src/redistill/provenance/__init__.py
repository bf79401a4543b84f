"""Keys, the store, manifests, records and versions."""
