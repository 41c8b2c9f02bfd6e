"""engine/responses."""
