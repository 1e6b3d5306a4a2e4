"""The fail-closed check behind auth.lua: without the mark that auth.lua leaves on a request, it ends here."""

from __future__ import annotations

from lyc.gateway.replies import NAMESPACE
from lyc.gateway.xds import Json

RBAC = "envoy.filters.http.rbac"
RBAC_FILTER = "extensions.filters.http.rbac.v3.RBAC"
RBAC_PER_ROUTE = "extensions.filters.http.rbac.v3.RBACPerRoute"


def only_with(mark: str, value: Json) -> Json:
    """Rules that let a request pass only if its metadata `mark` matches `value`."""
    matcher = {"filter": NAMESPACE, "path": [{"key": mark}], "value": value}
    principal = {"sourced_metadata": {"metadata_source": "DYNAMIC", "metadata_matcher": matcher}}
    return {"action": "ALLOW", "policies": {"keyed": {"permissions": [{"any": True}], "principals": [principal]}}}
