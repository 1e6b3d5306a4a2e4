"""Machines: what they have, the engine environments on them, and the processes kept alive there."""
