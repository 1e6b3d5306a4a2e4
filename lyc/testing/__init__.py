"""Real parts for tests, shipped for authors of plugins too.

engine   an OpenAI-shaped engine stand-in: a real server process with vLLM's paths, metrics and faults, no weights
answers  what it answers (pure)
http1    the HTTP/1.1 server under it, which tells a handler at once when its client has gone
"""
