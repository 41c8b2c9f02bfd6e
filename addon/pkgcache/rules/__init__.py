"""Pure decisions: no I/O, no clock, no logging, nothing of mitmproxy. What is asked, what it may be answered with, and why."""
