"""A deployment on one host → Plan, or NoFit with figures.

decide       the plan          placement    which card, or the CPU
on_gpu       how many cards, by the planner's own prediction          on_cpu, memory   the CPU's memory
engine_args  vLLM's own options as a deployment carries them
"""

from lyc.planning.host.decide import plan, surge_fits

__all__ = ["plan", "surge_fits"]
