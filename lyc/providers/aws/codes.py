"""What AWS calls its refusals, in lyc's words: by code and type, never by text. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lyc.errors import Failed, LycError, NoFit, NotAuthorised, Unreachable, UsageError

_TITLE = "AWS"
_CHECK = "lyc providers check aws"
_DETAIL = 300

DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "AuthFailure", "Blocked", "ExpiredToken", "ExpiredTokenException",
    "IncompleteSignature", "InvalidClientTokenId", "InvalidSignatureException", "InvalidSecurityToken",
    "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "PendingVerification", "RequestExpired",
    "SignatureDoesNotMatch", "UnauthorizedOperation", "UnrecognizedClientException",
})  # fmt: skip
BUSY = frozenset({
    "EC2ThrottledException", "PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled",
    "RequestThrottledException", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
SOLD_OUT = frozenset({
    "InsufficientCapacity", "InsufficientFreeAddressesInSubnet", "InsufficientHostCapacity",
    "InsufficientInstanceCapacity", "InsufficientReservedInstanceCapacity", "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
})  # fmt: skip
QUOTA = frozenset({
    "InstanceLimitExceeded", "MaxIOPSLimitExceeded", "MaxSpotInstanceCountExceeded", "ResourceLimitExceeded",
    "SecurityGroupLimitExceeded", "VcpuLimitExceeded", "VolumeLimitExceeded",
})  # fmt: skip
OFFER_GONE = frozenset({
    "InvalidAvailabilityZone", "InvalidInstanceType", "InstanceTypeNotSupported", "Unsupported", "UnsupportedOperation",
})  # fmt: skip
ENDED = frozenset({"IdempotentInstanceTerminated"})
SPENT = ENDED | {"IdempotentParameterMismatch"}
"""For a ClientToken that has been used before."""
IN_USE = frozenset({"DependencyViolation", "InvalidIPAddress.InUse", "ResourceInUse", "VolumeInUse"})
NO_NETWORK = frozenset({"DefaultVpcDoesNotExist", "VPCIdNotSpecified", "MissingInput"})
MISSING = frozenset({
    "InvalidAllocationID.NotFound", "InvalidGroup.NotFound", "InvalidGroupId.Malformed", "InvalidInstanceID.Malformed",
    "InvalidInstanceID.NotFound", "InvalidKeyPair.NotFound", "InvalidParameterValue.NotFound", "InvalidVolume.NotFound",
    "InvalidVolumeID.Malformed",
})  # fmt: skip


def meant(code: str, status: int, message: str, where: str) -> LycError:
    """The error of an answer: its code, its HTTP status, its text. where: call and region."""
    told = " ".join(message.split())[:_DETAIL]
    if code in DENIED or status in (401, 403):
        why = f"it answers {code}"  # without its text, which may tell more of the account than a log should hold
        return NotAuthorised(
            "provider-denied", f"{_TITLE} does not accept the credential", why=why, where=where, hint=_CHECK
        )
    if code in BUSY or status == 429:
        return Unreachable("provider-busy", f"{_TITLE} asks to be asked less often", why=code, where=where)
    if code in SOLD_OUT:
        return NoFit("no-capacity", f"{_TITLE} has no such machine left", why=f"{code}: {told}", where=where)
    if code in QUOTA:
        hint = "ask for more at https://console.aws.amazon.com/servicequotas or take a smaller machine"
        return NoFit("quota-exceeded", "the AWS account may not have more of these", why=code, where=where, hint=hint)
    if code in OFFER_GONE:
        what = f"{_TITLE} does not sell this machine there"
        return UsageError("offer-gone", what, why=f"{code}: {told}", where=where, hint="lyc gpus --available")
    if code in IN_USE:
        return Unreachable("provider-busy", "what should be removed is still in use", why=code, where=where)
    if code in NO_NETWORK:
        return no_network(where)
    if status >= 500:
        return unreachable(f"it answers {status} {code}".strip(), where)
    if status >= 400:
        return Failed("provider-refused", f"{_TITLE} refuses the request", why=f"{code}: {told}", where=where)
    return odd(f"it answers {status} {code}".strip(), where)


def no_network(where: str) -> LycError:
    """The region has no network to put a machine into. where: ends in the region."""
    region = where.rpartition(" ")[2]
    return Failed(
        "provider-refused",
        f"the AWS account has no default network in {region}",
        why="machines of lyc are put into the region's default VPC",
        where=where,
        hint=f"aws ec2 create-default-vpc --region {region}",
    )


def unreachable(why: str, where: str) -> LycError:
    """No answer, or one of a server that broke down."""
    return Unreachable("provider-unreachable", f"{_TITLE} does not answer", why=why, where=where, hint=_CHECK)


def odd(why: str, where: str) -> LycError:
    """An answer that is not what AWS documents."""
    return Failed("provider-odd-answer", f"{_TITLE} answers what lyc does not understand", why=why, where=where)


def no_credential(why: str) -> LycError:
    """Nothing was found to sign in with, or what was found is incomplete or has run out."""
    return NotAuthorised(
        "provider-denied",
        "there is no credential of AWS that works",
        why=why,
        hint="export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…, or AWS_PROFILE=… and aws sso login",
    )


def nothing_made(error: LycError) -> bool:
    """Whether a create that ended so has made no machine, for sure."""
    return isinstance(error, NoFit | NotAuthorised) or error.ref in ("offer-gone", "provider-busy", "provider-refused")


@contextlib.contextmanager
def understood(where: str) -> Iterator[None]:
    """Within it an answer of another form than AWS documents is `provider-odd-answer`."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise odd(f"{type(error).__name__} in what it tells", where) from error
