"""Pure decisions: what was asked, what the answer may be, and why. No I/O, no clock, no logging, nothing of mitmproxy."""
