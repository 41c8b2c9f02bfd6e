"""rules/routing."""
