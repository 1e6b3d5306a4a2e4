"""A deployment on one host → Plan, or NoFit with figures.

decide       the plan          placement    which kind of card, or the CPU          facts    a host over SSH
on_gpu       how many cards of this machine, by the planner's own prediction        on_cpu, memory   the CPU's memory
on_devices   which cards of a host that several deployments share                   cards    what is free of each
engine_args  vLLM's own options as a deployment carries them
"""

from lyc.planning.host.cards import held, place
from lyc.planning.host.decide import plan, surge_fits
from lyc.planning.host.facts import host_facts

__all__ = ["held", "host_facts", "place", "plan", "surge_fits"]
