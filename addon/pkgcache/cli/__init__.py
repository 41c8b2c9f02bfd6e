"""The command `pypi-cache`, which looks after a store, beside a running proxy or without one.

    __main__.py         where a run begins
    app.py              the group of commands, and how a run ends (exit codes, signals, closed pipes)
    exits.py            exit codes, and the exceptions that carry them
    store_location.py   which store is meant: config.yaml, --set, --dir
    opening.py          opens it
    selection.py        which of its entries a command is about
    output.py           how sizes, times and lines are shown; progress_bar.py: progress on a terminal
    proxy_client.py     a proxy's own pages, and requests through it

    commands/           stats, ls, purge, verify, warm, export, import_, doctor
    archive/            what `export` writes and `import` reads
    warming/            what `warm` fetches, for whom, and how
    checks/             what `doctor` looks at

Imports run from commands down to exits (`tests/test_imports.py` holds the order).
"""
