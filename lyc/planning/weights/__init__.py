"""Bytes of the loaded parameters on one GPU, as vLLM logs them.

loaded      the terms          active      what one step reads
parameters  tensors of a checkpoint → vLLM's own parameters on one rank (roles, formats, mxfp4)
beside      what is made beside them: rotary tables, absorbed projections, workspaces      lora  its buffers
reconciled  where the names are guessed: what the total says      allocator   torch's rounding
"""

from lyc.planning.weights.active import active_bytes
from lyc.planning.weights.loaded import likeness, weights

__all__ = ["active_bytes", "likeness", "weights"]
