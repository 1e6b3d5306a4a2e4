"""The controller: makes reality equal the desired state, and answers the command line.

process      one controller a home: its socket, its threads, its end
server       the API; documents: its types; views: what it shows of the store; client: how the command line asks
launch       starts a controller when a command needs one
operations   what a user asked for, carried out: deploy (with preparation), down; feed: what they say meanwhile
reconcile    the loop: load, decide, act; observer: looks at replicas
gatekeeper   keeps Envoy running and told; keys: of endpoints; logs: of replicas
deps         what all of it is made of; layout: where it keeps what
"""
