"""What one running service has once: its background tasks, counters, health, and limit of open files."""
