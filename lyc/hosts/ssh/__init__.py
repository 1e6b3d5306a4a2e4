"""Machines reached with the system's OpenSSH, so that whatever a user's `~/.ssh/config` says works as it is.

target    how `ssh` is called for one host      known   the pinned host keys
scan      which host keys a machine shows       link    the shared connection, and why there is none
far       what runs at the other end            session one command over the shared connection
remote    `lyc.ports.Remote`
"""
