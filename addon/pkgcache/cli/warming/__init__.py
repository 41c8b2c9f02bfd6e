"""cli/warming."""
