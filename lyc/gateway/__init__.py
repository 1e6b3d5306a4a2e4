"""Stage 6: expose. The only way in: Envoy, configured by files, and the small programs that run in it.

    render       GatewayConfig → the files that Envoy reads (pure)
    listener     the port, the filters in their order, the access log    routes    paths → deployments
    clusters     deployments → their replicas, and who is well           keys      the key table and the Lua programs
    replies      every answer of the gateway's own, in OpenAI's shape    xds       the envelope of each file
    auth.lua     who may pass                                            usage.lua tokens, read out of the answers
    envoy        EnvoyGateway: writes the files, says how to run Envoy, and asks it
    admin        Envoy's admin socket                                    diagnosis Envoy's log → one error (pure)
    traffic      the access log, added up

    front        what stands behind the replicas: the activator, and how Envoy finds the way there and back
    activator    the thread and its socket      reception    one request     waiting    the requests of one deployment
    verdict      held, handed back or refused (pure)                         tries      who was handed back how often
    exchange     HTTP/1.1 with h11              callers      headers in, answers out        keepalive  streams that wait

A request passes: key (SHA-256, its deployment) → fail-closed check → size limit → route (the engine's own key is put
in) → a replica's unix socket; or, where no replica is well, the activator's, until one is. What changes while Envoy
serves never touches the listener, because a changed listener ends the streams of the old one.
"""
