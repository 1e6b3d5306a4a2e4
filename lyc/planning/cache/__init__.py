"""The KV cache as vLLM lays it out and reports it, version by version.

kv_layout  blocks, tokens, concurrency      rules  what changed when
specs      what a layer keeps      states   recurrent ones      groups   layers that share block numbers
blocks     tokens of a block       dtype    of the cache
"""
