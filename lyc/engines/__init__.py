"""What vLLM is and how it is spoken to. Pure: nothing here runs a process, reads a clock or opens a socket.

versions       EngineBuild, and the recipe of its environment: the ONE place where versions are pinned
architectures  may this model be served at all
quantization   may this precision be used on this accelerator and this checkpoint
speculative    may this draft be used with this model
options        are these `--engine-arg`s ones that this version knows and that lyc leaves to the user
vllm           Plan × EngineTarget → EngineCommand; probes; metric names
progress       one log line → EngineProgress
diagnosis      the log of a failed start → one LycError

The tables under `data/` are generated from the engine itself; `tests/engines/regenerate.py` writes them again and a
test compares them with the engine that is installed.
"""
