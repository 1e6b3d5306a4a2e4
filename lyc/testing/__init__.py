"""Real parts for tests, shipped for authors of plugins too.

engine   an OpenAI-shaped engine stand-in: a real server process with vLLM's paths, metrics and faults, no weights
answers  what it answers (pure)
http1    the HTTP/1.1 server under it, which tells a handler at once when its client has gone

clouds               fakes of providers of machines: HTTP servers that keep state, with every fault injected on demand
provider_contract    the suite that every provider passes, run on such a fake; its parts are in `contract`
"""
