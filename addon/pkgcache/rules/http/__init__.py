"""HTTP as a cache needs it: caching, validation, ranges and dates (RFC 9110, 9111, 9211, 5861)."""
