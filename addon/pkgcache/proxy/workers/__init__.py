"""`pypi-cache serve --workers N`: several processes on one port, and the one that starts them again.

supervisor.py starts the workers, hands each its sockets and starts another one where one dies; arguments.py reads `--workers`,
listening.py makes the sockets and puts them where mitmproxy listens, and state_folder.py is where workers tell each other how they are.
What a worker knows of itself is in engine/runtime/seat.py.
"""
