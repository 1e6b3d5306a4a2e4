"""Engines on a host over SSH: `lyc.ports.Site` for another machine. What acts there is `lyc.agent`.

site, upkeep           one host as a site, put together; what is done to it as a whole
calls, program         calls of the agent; the zip that it is
bootstrap              a bare host made ready, and bare again: rights → steps → sent → found (fit, lease_units)
installer              engine environments; places: where packages come from, egress and relay: a way out that is
                       lent to a host without one
weights, push          the store of weights there
supervisor, watching   processes there: heard, mirror, tunnels, probe, images
"""
