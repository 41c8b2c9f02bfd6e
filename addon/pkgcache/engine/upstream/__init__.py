"""engine/upstream."""
