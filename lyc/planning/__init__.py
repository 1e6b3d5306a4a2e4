"""How one model sits on GPUs or on a host: foretold term by term as vLLM will report it. Pure.

survey       all cards → what fits, cheapest first, and why the rest does not       fit: one candidate
decide       a deployment on one host → Plan, or NoFit (on_gpu, on_cpu, placement, engine_args)
defaults     the options that vLLM decides by itself, by version, card and model
weights      bytes of the loaded parameters on one GPU       kv_layout   blocks, tokens, concurrency of the KV cache
activation   peak of one step       non_torch, cuda_graphs   the rest       budget   what is left
parallelism  which splits vLLM takes
cards        the catalogue       precision   what a card can multiply       prices   what it costs to rent
performance  tokens a second       economics   what they cost
"""
