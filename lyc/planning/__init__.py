"""How one model sits on GPUs or on a host: foretold term by term as vLLM will report it. Pure.

survey       all cards → what fits, cheapest first, and why the rest does not       fit: one candidate
host/        a deployment on one host → Plan, or NoFit
defaults     the options that vLLM decides by itself, by version, card and model
weights/     bytes of the loaded parameters on one GPU       cache/   blocks, tokens, concurrency of the KV cache
activation/  peak of one step       non_torch, cuda_graphs   the rest       budget   what is left
parallelism  which splits vLLM takes
catalogue/   GPUs: what they are, what they can multiply, what they cost to rent
performance  tokens a second (work: what a step reads and multiplies)       economics   what they cost

Nothing is imported here: `lyc gpus` needs the catalogue alone, and should not wait for the rest.
"""
