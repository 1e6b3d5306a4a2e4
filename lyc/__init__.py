"""lyc: from fine-tuned weights to a private, authenticated, OpenAI-compatible endpoint.

The stages, in the order in which a model passes through them, and the value that each hands on:

    sources      ModelRef          → Listing, Snapshot     where weights come from; the content-addressed cache
    inspection   Listing + bytes   → ModelFacts            what the model is (pure)
    planning     facts × host      → Plan | NoFit          what fits, and how (pure)
    engines      Plan              → EngineCommand         argv, env, probes, progress, diagnosis (pure)
    hosts        EngineCommand     → a supervised process  machines, environments, processes
    gateway      GatewayConfig     → a running Envoy       keys, routes, the only way in
    rollout      desired × actual  → actions               THE transition table (pure)
    control      actions           → reality               the controller process and its API
    cli          words             → desired state         one file a verb

Imports go down only; `docs/design.md` draws the layers and import-linter holds them.
"""

__version__ = "0.1.0"
