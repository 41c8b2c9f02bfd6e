"""Index pages: one project's page, its JSON API document, the list of all projects; fetched, stored, and made into what a client sees."""
