"""How many replicas a deployment shall have. Pure: what was measured × policy × what is remembered × now → a number.

defaults   the windows and shares, with their sources     hours     the schedule: bounds now, and when they change
readings   samples → load, and how the engines bear it    memory    what is carried from one decision to the next
decide     THE decision                                   sentence  the decision in words
"""

from lyc.scaling.decide import decide, demanded, made_room
from lyc.scaling.hours import bounds, next_change
from lyc.scaling.sentence import explain

__all__ = ["bounds", "decide", "demanded", "explain", "made_room", "next_change"]
