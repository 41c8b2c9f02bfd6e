"""rules/policy."""
