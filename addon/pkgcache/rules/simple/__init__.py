"""The simple repository API: reading, rewriting, filtering and converting index pages (PEP 503, 691, 700, 714), and the older JSON API."""
