"""Advisories: where they are read from, in a process of its own, and which ones are in force."""
