"""The parts of `lyc.testing.provider_contract`, and the rig that they run on."""
