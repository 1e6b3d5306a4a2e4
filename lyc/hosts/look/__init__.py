"""One look at a host over SSH: a read-only script goes there, and what it prints becomes `RemoteFacts`.

probe.sh   the script, sections between marks       look      sends it
sections   output → sections       facts   sections → RemoteFacts       system, resources, cards   each a part of it
"""

from lyc.hosts.look.facts import parse
from lyc.hosts.look.look import look

__all__ = ["look", "parse"]
