"""Release files: which one is meant, and whether it comes from the store, from a download, or straight from an upstream."""
