"""What is rented from a provider: what it can do, what it sells, what stands there, and what becomes of one rental.

Money is Decimal, in the currency in which it is billed. Times are seconds since the epoch, spans are seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

OWN = "ssh"
"""In the place of a provider's name: the user's own machines, which are reached over SSH."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One variable that a provider's account needs. env: its name. required: nothing works without it."""

    env: str
    help: str
    secret: bool = True
    required: bool = True


@dataclass(frozen=True, slots=True)
class Region:
    """country: ISO 3166 code (`FI`) of the place where the machines stand, empty = the provider does not say."""

    country: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can and cannot do, as its documents say; what they do not say is left at the default.

    owner: name of the company; jurisdiction: ISO code of the country whose law it answers to, its parent's where that
    is another; empty = unknown. credentials: what an account needs; credentials_page: where one gets them.
    idempotent: a create that is repeated with the same run id yields the same machine. tags: machines carry our tags.
    time_limit: the provider itself ends a machine after the span that `Order.time_limit` says, with no word from lyc.
    boot_script: runs `Order.boot_script` as root at the first start. granularity, minimum: spans that are billed in
    whole, and the least one. settle: how long after a lost answer to a create the machine may still turn up in the
    list. spot: sells machines that it may take back. container: its machines are containers without systemd, in which
    our own start command watches over the lease and over the first hour. regions: by the provider's own name. user:
    account to log in as. pages: where each claim was read.
    """

    name: str
    title: str
    owner: str
    jurisdiction: str
    currency: str
    credentials: tuple[Credential, ...]
    credentials_page: str
    regions: Mapping[str, Region] = field(default_factory=dict)
    idempotent: bool = False
    tags: bool = False
    time_limit: bool = False
    boot_script: bool = False
    spot: bool = False
    container: bool = False
    granularity: int = 3600
    minimum: int = 0
    settle: float = 120.0
    user: str = "root"
    pages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of machine that can be rented in one place now.

    id: the provider's own words, enough for it to create this very kind there (opaque; stable between two listings).
    card: name in the catalogue of GPUs; empty = a card that lyc does not know; `cpu` = a machine without any, for small
    models. product: as the provider calls it. count: cards in the machine. per_hour: of the whole machine, without tax.
    country: ISO code, empty = unknown.
    stock: machines left, 0 = sold out, None = the provider does not say. disk: bytes that come with it, None = unknown.
    vcpus, memory (bytes): None = unknown. spot: may be taken back. seen_at: when the provider said so. owner,
    jurisdiction: as in `Capabilities`, where the machine is not the provider's own; empty = it is.
    """

    provider: str
    id: str
    card: str
    product: str
    count: int
    per_hour: Decimal
    currency: str
    region: str = ""
    country: str = ""
    spot: bool = False
    stock: int | None = None
    vcpus: int | None = None
    memory: int | None = None
    disk: int | None = None
    seen_at: float = 0.0
    owner: str = ""
    jurisdiction: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """One machine to be created.

    run_id: `<owner>-<8 hex digits>`, where the owner is the first 8 hex digits of the controller's id; our idempotency
    key, and what the machine is found by: it is in its name (`lyc-<run id>`) and in its tags. public_key: one line, for
    the account that logs in. disk: bytes that are wanted at least. time_limit: see `Capabilities`; None = none.
    """

    run_id: str
    offer: Offer
    public_key: str
    boot_script: str | None = None
    disk: int | None = None
    time_limit: float | None = None

    @property
    def name(self) -> str:
        return machine_name(self.run_id)


PREFIX = "lyc-"


def machine_name(run_id: str) -> str:
    """What a machine of a run is called at its provider."""
    return f"{PREFIX}{run_id}"


def run_id_of(name: str | None) -> str | None:
    """The run id in a machine's name; None where it is not one of lyc's."""
    rest = (name or "").removeprefix(PREFIX)
    parts = rest.split("-")
    ours = bool(name) and name != rest and len(parts) == 2
    return rest if ours and all(len(part) == 8 and set(part) <= set("0123456789abcdef") for part in parts) else None


class MachineState(enum.StrEnum):
    """What a provider's own word for the state of a machine comes to. All but GONE may cost money."""

    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"  # there, off, perhaps still billed
    ENDING = "ending"
    FAILED = "failed"  # will never run; still in the list, perhaps still billed
    UNKNOWN = "unknown"  # a word that lyc does not know: counts as alive
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine as its provider tells of it. id: the provider's. word: its own word for the state. run_id: None =
    not lyc's. address, port: where sshd is, None while there is none yet. user: None = as the capabilities say.
    created_at: None = the provider does not say. problem: why it failed, in the provider's words. notice_at: when a
    spot machine will be taken back, if that has been announced.
    """

    provider: str
    id: str
    state: MachineState
    word: str
    run_id: str | None = None
    address: str | None = None
    port: int | None = None
    user: str | None = None
    region: str = ""
    created_at: float | None = None
    problem: str = ""
    notice_at: float | None = None

    @property
    def alive(self) -> bool:
        return self.state is not MachineState.GONE


@dataclass(frozen=True, slots=True)
class Leftover:
    """What stays and costs, or only litters, when its machine is gone. kind: volume | address | key | script | group.

    note: why it is thought to be ours.
    """

    provider: str
    kind: str
    id: str
    run_id: str | None
    note: str = ""
    billed: bool = False


@dataclass(frozen=True, slots=True)
class Billed:
    """What a provider says that it bills for a machine in a span."""

    machine: str
    amount: Decimal
    currency: str
    since: float
    until: float


class RentalState(enum.StrEnum):
    """What becomes of one rental. Moves are in `lyc.renting.transitions`, and nowhere else."""

    INTENDED = "intended"  # about to be created, or created with the answer not heard
    RENTED = "rented"  # the provider has told of the machine
    RELEASING = "releasing"  # shall go; the provider has not confirmed it yet
    GONE = "gone"  # the provider has confirmed that it is not there any more
    REFUSED = "refused"  # never came to be, as far as the provider knows


@dataclass(frozen=True, slots=True)
class Rental:
    """One machine that was wished for, from the intent to the confirmation that it is gone.

    offer: as it was taken. machine: the provider's id, None until it is known. host: name of the host, None until it
    answers over SSH. billed_from, billed_until: of the span that costs: from the intent until the confirmation, unless
    the provider says it more exactly. time_limit: epoch seconds at which it shall go whatever happens (`--ttl`).
    minimum, granularity: as the provider bills. reason: why it goes or went (kebab-case). error: document of what went
    wrong. extra: ids of further machines of the same run id, which must go too. per_million: what a million answer
    tokens cost as foretold, in the currency of the offer; None where nothing was foretold. ready_at: when a deployment
    on it first served. notice_at: when the provider takes it back, as it has announced.
    """

    run_id: str
    provider: str
    deployment: str
    offer: Offer
    state: RentalState
    intended_at: float
    updated_at: float
    granularity: int = 3600
    minimum: int = 0
    machine: str | None = None
    host: str | None = None
    address: str | None = None
    port: int | None = None
    user: str | None = None
    billed_from: float | None = None
    billed_until: float | None = None
    time_limit: float | None = None
    reason: str = ""
    error: dict[str, object] | None = None
    extra: tuple[str, ...] = ()
    notice_at: float | None = None
    ready_at: float | None = None
    per_million: Decimal | None = None
