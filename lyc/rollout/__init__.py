"""What to do next. Pure: desired × actual × now → actions; THE table of replica states is `transitions.TABLE`."""

from lyc.rollout.decide import decide
from lyc.rollout.moved import moved
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.summary import summarise
from lyc.rollout.transitions import Signal, move

__all__ = ["Policy", "Seen", "Signal", "Situation", "decide", "move", "moved", "summarise"]
