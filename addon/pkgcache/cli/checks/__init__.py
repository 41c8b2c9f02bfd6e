"""cli/checks."""
