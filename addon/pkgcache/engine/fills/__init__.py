"""One download of a file at a time, read by any number of clients while it grows, and shared by several processes."""
