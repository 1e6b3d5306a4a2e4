"""What to do next. Pure: desired × actual × now → actions; THE table of replica states is `transitions.TABLE`.

decide      one step of everything              follow, steer    of a replica: by what was seen, by what is wanted
preview     all steps, if all goes well         release          of a release: proven, failed, back
words       an action for a person              counts, keep     how many of which release, and which of them go on
summarise   a deployment in one word            failures         what a death means, and for how long
spread      on which host, and who goes first
"""

from lyc.rollout.counts import desired, split
from lyc.rollout.decide import decide
from lyc.rollout.failures import given_up
from lyc.rollout.moved import moved, shifted
from lyc.rollout.preview import preview
from lyc.rollout.situation import Policy, Seen, Situation
from lyc.rollout.summary import summarise
from lyc.rollout.transitions import Signal, move
from lyc.rollout.words import words

__all__ = [
    "Policy",
    "Seen",
    "Signal",
    "Situation",
    "decide",
    "desired",
    "given_up",
    "move",
    "moved",
    "preview",
    "shifted",
    "split",
    "summarise",
    "words",
]
