"""The mitmproxy side, and the only importer of mitmproxy: hooks and layers translate between its events and the engine's values."""
