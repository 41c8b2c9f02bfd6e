"""What a URL means: indexes, project pages and release files, and the parts of a path that name them."""
