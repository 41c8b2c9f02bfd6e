"""cli/archive."""
