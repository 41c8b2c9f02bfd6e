"""`pypi-cache serve --workers N`: several processes on one port, and the one that starts them again.

supervisor.py starts the workers, hands each its sockets and starts another one where one dies; arguments.py reads `--workers`,
listening.py makes the sockets and puts them where mitmproxy listens. What a worker knows of itself is in proxy/seat.py.
"""
