"""The command `pypi-cache`, which looks after a store, beside a running proxy or without one.

    start.py          where a run begins
    main.py           the group of commands, and how a run ends (exit codes, signals, closed pipes)
    common.py         which store is meant, how it is opened, how things are shown; progress.py: bars; keys.py: what a key tells

    stats.py          how much there is of what
    listing.py        `ls`
    purge.py
    verify.py
    warm.py           planning.py: what is to be fetched, and in which order; warming.py fetches it
        environments.py   for whom: Python versions and platforms, as wheels' tags and markers have them
        requirements.py   requirements files: pip resolves them, where needed with another machine's markers (markedpip.py)
        locks.py          lock files: which kind it is; lockkinds.py reads each; packages.py: what they say, in one form
        ownproxy.py       a proxy for one run; client.py asks a proxy as an agent does
    export.py         the store into an archive; importing.py: back again
        archive.py        the archive's format; cards.py: whether one of its entries may come in
    doctor.py         what may be wrong (findings.py): checkups.py on a proxy's own machine, surroundings.py around it

Pure are keys.py, archive.py, cards.py, environments.py (but for this machine's own tags), packages.py, locks.py and lockkinds.py.
"""
