"""What `warm` fetches (requirements, lock files), for which Pythons and platforms, and how it fetches it through a proxy."""
