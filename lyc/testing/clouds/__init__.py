"""Clouds that are not there: HTTP servers on 127.0.0.1 that keep state and misbehave when told to.

core    what stands in such a cloud, whatever its API: machines, things beside them, capacity (thread-safe)
faults  what goes wrong, at which call, how often
server  routes to handlers over real sockets, with every fault below HTTP and above it

Each provider's fake is a module of routes over one `Cloud`: its own paths, words and oddities, nothing else.
"""
