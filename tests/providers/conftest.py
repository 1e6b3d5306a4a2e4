"""Differing values are shown for the contract's assertions too."""

import pytest

pytest.register_assert_rewrite("lyc.testing.contract", "lyc.testing.provider_contract")
