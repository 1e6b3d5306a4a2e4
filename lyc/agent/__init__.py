"""What runs on a host that engines run on: one program, `python -I agent.pyz --root ROOT COMMAND …`.

Standard library only (Python >= 3.11) and nothing else of lyc, because a host has nothing else; it travels as a zip.
It decides nothing: the controller asks, it acts, and every command may be killed at any instant and given again.

    root      where everything lies on the host         answer    how it answers, and refuses
    main      the table of commands                     shim      the parent of a process where there is no systemd
"""
