"""How one model sits on one host: `plan` decides, or says with figures why it does not fit. Pure.

placement   which card, or the CPU
memory      how much of it the model, its KV cache and the engine take
"""

from lyc.planning.decide import plan, surge_fits

__all__ = ["plan", "surge_fits"]
