"""rules/http."""
