"""What runs on a host that engines run on: one program, `python -I agent.pyz --root ROOT COMMAND …`.

Standard library only (Python >= 3.11) and nothing else of lyc, because a host has nothing else; it travels as a zip.
It decides nothing: the controller asks, it acts, and every command may be killed at any instant and given again.

    root, answer, main     where everything lies on the host; how it answers, and refuses; the table of commands
    processes, watch       engine processes, and what becomes of them: by `systemd` (units, launch, journal) or, without
                           it, `shimmed` (shim, rotated); folder, status, cards, loopback, containers, images
    weights, pull, prune   the store of weights: what is sent, what the host fetches itself, what goes (blobs, manifest,
                           fetch)
    environments           engine environments, made by uv
    lock, lease, purge     the host as a whole: who works on it, the dead-man's switch, the end; use: what is there
"""
