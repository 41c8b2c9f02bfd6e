"""rules/simple."""
