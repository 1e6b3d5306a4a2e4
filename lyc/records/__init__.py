"""Frozen values that one stage hands to the next. No behaviour beyond showing themselves; no I/O.

model        ModelRef, SourceFile, Listing, Snapshot, ModelFacts
deployment   DeploymentSpec, Release, Replica, and the states they can be in
architecture Architecture, Layer, TensorGroup: what a model is built of
card         Card, Price: a GPU of the catalogue
serving      Serving, Stage, Term, CacheLayout, CacheSize: an engine started with every option decided
fit          Fit, Survey, Speed, Cost, Reason: how a model sits on a GPU, foretold
plan         Accelerator, HostFacts, Plan
engine       EngineCommand, Probe, EngineProgress
process      ProcessSpec, ProcessRef, ProcessStatus
gateway      GatewayConfig, Route, Endpoint, KeyEntry, GatewayStatus
progress     Phase events, from a worker to whoever watches
secret       Secret: a string that never shows itself
"""
