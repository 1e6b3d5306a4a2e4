"""The clouds that lyc rents from by way of SkyPilot: whose they are, and in which country each region is.

Regions as the clouds themselves list them (`PAGES`). A region that is not here has no country that lyc would vouch for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lyc.records.rental import Region


@dataclass(frozen=True, slots=True)
class Place:
    """One cloud. owner, jurisdiction: as in `Capabilities`, empty = unknown. usual: lyc asks for it unless it is told
    which clouds to ask for; not so where lyc has a client of its own. forms: of cards that are sold both as SXM and as
    PCIe, it documents which it has: SXM.
    """

    owner: str = ""
    jurisdiction: str = ""
    usual: bool = True
    forms: bool = False


CLOUDS: Mapping[str, Place] = MappingProxyType(
    {
        "aws": Place("Amazon.com, Inc.", "US", usual=False, forms=True),
        "azure": Place("Microsoft Corporation", "US"),
        "cudo": Place(),
        "do": Place("DigitalOcean Holdings, Inc.", "US"),
        "fluidstack": Place(),
        "gcp": Place("Alphabet Inc.", "US", forms=True),
        "lambda": Place("Lambda, Inc.", "US", usual=False),
        "nebius": Place("Nebius Group N.V.", forms=True),
        "oci": Place("Oracle Corporation", "US", forms=True),
        "paperspace": Place("DigitalOcean Holdings, Inc.", "US"),
        "seeweb": Place(),
    }
)
"""Whole machines that end by themselves (`autodown`) and whose address SkyPilot tells (`endpoints`). Not here, of those
of SkyPilot 0.14: containers (kubernetes, runpod, slurm, vast, yotta), what cannot do one of the two (hyperbolic, ibm,
mithril, primeintellect, verda, vsphere), what sells others' machines (shadeform), what nobody has asked for (scp, ssh).
"""

PAGES = (
    "https://cloud.google.com/compute/docs/regions-zones",
    "https://learn.microsoft.com/en-us/azure/reliability/regions-list",
    "https://docs.oracle.com/en-us/iaas/Content/General/Concepts/regions.htm",
    "https://docs.nebius.com/overview/regions",
    "https://docs.digitalocean.com/platform/regional-availability/",
    "https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html",
)

_COUNTRIES: Mapping[str, Mapping[str, str]] = {
    "aws": {
        "AU": "ap-southeast-2 ap-southeast-4",
        "BR": "sa-east-1",
        "CA": "ca-central-1 ca-west-1",
        "CH": "eu-central-2",
        "DE": "eu-central-1",
        "ES": "eu-south-2",
        "FR": "eu-west-3",
        "GB": "eu-west-2",
        "IE": "eu-west-1",
        "IN": "ap-south-1 ap-south-2",
        "IT": "eu-south-1",
        "JP": "ap-northeast-1 ap-northeast-3",
        "KR": "ap-northeast-2",
        "SE": "eu-north-1",
        "SG": "ap-southeast-1",
        "US": "us-east-1 us-east-2 us-west-1 us-west-2",
    },
    "azure": {
        "AT": "austriaeast",
        "AU": "australiacentral australiaeast australiasoutheast",
        "BR": "brazilsouth",
        "CA": "canadacentral canadaeast",
        "CH": "switzerlandnorth switzerlandwest",
        "DE": "germanynorth germanywestcentral",
        "ES": "spaincentral",
        "FR": "francecentral francesouth",
        "GB": "uksouth ukwest",
        "IE": "northeurope",
        "IN": "centralindia southindia westindia",
        "IT": "italynorth",
        "JP": "japaneast japanwest",
        "KR": "koreacentral koreasouth",
        "NL": "westeurope",
        "NO": "norwayeast norwaywest",
        "PL": "polandcentral",
        "SE": "swedencentral",
        "SG": "southeastasia",
        "US": "centralus eastus eastus2 northcentralus southcentralus westcentralus westus westus2 westus3",
    },
    "do": {
        "AU": "syd1",
        "CA": "tor1",
        "DE": "fra1",
        "GB": "lon1",
        "IN": "blr1",
        "NL": "ams2 ams3",
        "SG": "sgp1",
        "US": "atl1 nyc1 nyc2 nyc3 sfo1 sfo2 sfo3",
    },
    "gcp": {
        "AU": "australia-southeast1 australia-southeast2",
        "BE": "europe-west1",
        "BR": "southamerica-east1",
        "CA": "northamerica-northeast1 northamerica-northeast2",
        "CH": "europe-west6",
        "DE": "europe-west3 europe-west10",
        "ES": "europe-southwest1",
        "FI": "europe-north1",
        "FR": "europe-west9",
        "GB": "europe-west2",
        "IN": "asia-south1 asia-south2",
        "IT": "europe-west8 europe-west12",
        "JP": "asia-northeast1 asia-northeast2",
        "KR": "asia-northeast3",
        "NL": "europe-west4",
        "PL": "europe-central2",
        "SE": "europe-north2",
        "SG": "asia-southeast1",
        "TW": "asia-east1",
        "US": "us-central1 us-east1 us-east4 us-east5 us-south1 us-west1 us-west2 us-west3 us-west4",
    },
    "nebius": {"FI": "eu-north1", "FR": "eu-west1", "US": "us-central1"},
    "oci": {
        "AU": "ap-melbourne-1 ap-sydney-1",
        "BR": "sa-saopaulo-1 sa-vinhedo-1",
        "CA": "ca-montreal-1 ca-toronto-1",
        "CH": "eu-zurich-1",
        "DE": "eu-frankfurt-1",
        "ES": "eu-madrid-1 eu-madrid-3",
        "FR": "eu-marseille-1 eu-paris-1",
        "GB": "uk-cardiff-1 uk-london-1",
        "IN": "ap-hyderabad-1 ap-mumbai-1",
        "IT": "eu-milan-1",
        "JP": "ap-osaka-1 ap-tokyo-1",
        "KR": "ap-chuncheon-1 ap-seoul-1",
        "NL": "eu-amsterdam-1",
        "SE": "eu-stockholm-1",
        "SG": "ap-singapore-1",
        "US": "us-ashburn-1 us-chicago-1 us-phoenix-1 us-sanjose-1",
    },
}

REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        f"{cloud}/{name}": Region(country)
        for cloud, countries in _COUNTRIES.items()
        for country, names in countries.items()
        for name in names.split()
    }
)
"""By `cloud/region`."""
