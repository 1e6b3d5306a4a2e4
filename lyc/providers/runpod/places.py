"""Where RunPod's data centres stand: https://docs.rs/runpod-sdk/0.6.2/runpod_sdk/model/enum.DataCenterId.html

One that is not listed has no country that lyc would vouch for: `US-DE-1` is Delaware.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lyc.records.rental import Region

_STATES = {
    "CA-2": "California", "DE-1": "Delaware", "GA-1": "Georgia", "GA-2": "Georgia", "IL-1": "Illinois",
    "KS-2": "Kansas", "KS-3": "Kansas", "MD-1": "Maryland", "NC-1": "North Carolina", "TX-1": "Texas",
    "TX-3": "Texas", "TX-4": "Texas", "WA-1": "Washington",
}  # fmt: skip

REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        "EU-CZ-1": Region("CZ", "Czech Republic"),
        "EU-FR-1": Region("FR", "France"),
        "EU-NL-1": Region("NL", "Netherlands"),
        "EU-RO-1": Region("RO", "Romania"),
        "EU-SE-1": Region("SE", "Sweden"),
        "EUR-IS-1": Region("IS", "Iceland"),
        "EUR-IS-2": Region("IS", "Iceland"),
        "EUR-IS-3": Region("IS", "Iceland"),
        "EUR-NO-1": Region("NO", "Norway"),
        "AP-IN-1": Region("IN", "India"),
        "AP-JP-1": Region("JP", "Japan"),
        "OC-AU-1": Region("AU", "Australia"),
        "CA-MTL-1": Region("CA", "Montreal"),
        "CA-MTL-2": Region("CA", "Montreal"),
        "CA-MTL-3": Region("CA", "Montreal"),
        **{f"US-{place}": Region("US", state) for place, state in _STATES.items()},
    }
)
