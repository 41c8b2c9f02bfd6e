"""The store: entries on disk by key, with their notes, bounded in bytes and shared by several processes."""
