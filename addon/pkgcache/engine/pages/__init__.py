"""engine/pages."""
