"""The proxy's own pages, for agents and operators: health, certificates, an agent's environment, metrics."""
