"""The peak of memory while vLLM runs its largest step, by what lives at once.

peak     the terms          moments   tensors at one moment
forward  a layer            experts   workspaces of mixtures          sampler, encoder, runner   the rest
"""

from lyc.planning.activation.peak import activation

__all__ = ["activation"]
