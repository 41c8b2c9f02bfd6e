"""The proxy's own pages, for agents and operators, and the greeting in its log."""
