"""Engines on a host over SSH: `lyc.ports.Site` for another machine. What acts there is `lyc.agent`."""
