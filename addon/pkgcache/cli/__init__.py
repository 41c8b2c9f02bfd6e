"""The command `pypi-cache`, which looks after a store, beside a running proxy or without one."""
