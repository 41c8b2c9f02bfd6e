"""engine/fills."""
