"""Decisions about rented machines: what may be taken, what it costs, and what must be done about each. Pure."""
