"""A tier that several machines share: an object store (S3, Google Cloud Storage, Azure, a folder) behind the local stores.

To the code that fetches it is one more source, asked first (`client`); to the store one more consumer of what it has taken (`tier`).
What comes from it is held against its digest like any upstream's bytes: a bucket that lies is another lying mirror. None of it is there
without `pypi_cache_shared`.
"""
