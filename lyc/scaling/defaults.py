"""The figures of the autoscaler. docs/scaling.md says what each does to GPU hours and to waiting, with measurements."""

from __future__ import annotations

STABLE_SECONDS = 60.0
"""The load is averaged over so long (Knative's `stable-window`)."""
PANIC_SECONDS = 6.0
"""The load of a burst is averaged over so long (Knative's `panic-window-percentage`: a tenth of the stable window)."""
PANIC_RATIO = 3.0
"""A burst: it needs so many times the replicas that are there. Knative takes 2, but a replica of Knative's is there in
seconds: where it takes a minute, the long window sees nearly every burst in time, and each panic costs GPU hours.
"""
SHARE = 0.75
"""Of what a replica can hold, the part that is aimed at: the rest takes what comes while another one starts."""
DOWN_SECONDS = 600.0
"""So long fewer must do before there are fewer: the highest need of that time counts. Kubernetes' HPA takes 300, where
a pod is cheap to start again.
"""
FRESH_SECONDS = 15.0
"""A measurement that is older says nothing of now."""
GAP_SECONDS = 30.0
"""Nobody knows what was between two samples that are further apart."""
SKEW_SECONDS = 5.0
"""A clock that is corrected by less is the same clock."""
KV_FULL = 0.9
"""KV cache in use, on average, above which an engine is about to push requests out of it."""
WAITING = 1.0
"""Requests that an engine holds back, on average, at which it has more than it can bear."""
PRESSED_SECONDS = 30.0
"""Samples must span so much of the stable window before it is said that engines are pressed."""
BEAR = 0.9
"""Of the requests at a replica that is pressed, the part that is aimed at. More than SHARE, so that an overload which
the plan foresaw teaches nothing.
"""
LEARNED_SECONDS = 3600.0
"""So long it is remembered: the next hour's requests may be shorter."""
