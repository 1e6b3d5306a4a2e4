"""What nvidia-smi prints, read. The rows are real ones, with serial numbers changed."""

from __future__ import annotations

import pytest

from lyc.hosts.nvidia import catalogue_name, parse
from lyc.units import MIB

H100 = "NVIDIA H100 80GB HBM3, 81559, 81081, 9.0, GPU-8f7a1c1e-0000-0000-0000-000000000001, 550.54.15\n"
L4 = "NVIDIA L4, 23034, 22563, 8.9, GPU-8f7a1c1e-0000-0000-0000-000000000002, 550.54.15\n"


def test_two_cards() -> None:
    (first, second), driver = parse(H100 + L4)
    assert (first.name, first.product, first.compute_capability) == ("h100", "NVIDIA H100 80GB HBM3", 90)
    assert (first.memory_total, first.memory_free) == (81559 * MIB, 81081 * MIB)
    assert (second.name, second.uuid[-1], driver) == ("l4", "2", "550.54.15")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found\n",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest\n",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n",
        'Field "compute_cap" is not a valid field to query.\n\n',
        "a, b, c, d, e, f\n",
    ],
)
def test_no_card(text: str) -> None:
    assert parse(text) == ((), None)


def test_a_field_that_a_card_lacks() -> None:
    (card,), driver = parse("NVIDIA GB10, [N/A], [N/A], [Not Supported], GPU-1, [N/A]\n")
    assert (card.memory_total, card.memory_free, card.compute_capability, driver) == (0, 0, None, None)


def test_a_complaint_before_the_rows() -> None:
    (card,), _ = parse("WARNING: infoROM is corrupted at gpu 0000:00:1E.0\n" + L4)
    assert card.name == "l4"


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GH200 480GB", "gh200-96"),
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100 80GB PCIe", "a100-80-pcie"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40", "l40"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4080 SUPER", "rtx-4080-super"),
        ("NVIDIA GeForce GTX 1080 Ti", "gtx-1080-ti"),
        ("NVIDIA A100-SXM-64GB", "a100-sxm-64gb"),
        ("NVIDIA Graphics Device", "graphics-device"),
    ],
)
def test_the_name_that_a_user_types(product: str, name: str) -> None:
    assert catalogue_name(product) == name
