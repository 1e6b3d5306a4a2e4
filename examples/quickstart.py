#!/usr/bin/env python3
"""From a fresh machine to a live endpoint: `python3 examples/quickstart.py`.

Sets up everything (uv, lyc, the gateway, an engine for the CPU, a small model), deploys SmolLM2-135M-Instruct on this
machine, and asks it one question through the gateway. A second run finds all in place and only asks.
Needs Linux on x86-64, Python 3.11 or newer, and about 4 GB of disk; no GPU, no account, and root only where the
system lacks certificate authorities or libnuma (then it says so).
"""

from __future__ import annotations

import sys

import bootstrap

NAME = "smollm2"
MODEL = "sample:smollm2-135m"
QUESTION = "What is the capital of France?"


def main() -> int:
    """Deploy and ask. Exit code 0 only if the endpoint has answered."""
    try:
        env = bootstrap.prepare(dev=False)
        lyc = bootstrap.BIN / "lyc"
        with bootstrap.step(f"a live endpoint: lyc deploy {MODEL} --name {NAME} --gpu cpu"):
            bootstrap.run([lyc, "deploy", MODEL, "--name", NAME, "--gpu", "cpu"], env)
        with bootstrap.step(f"one question: lyc chat {NAME} '{QUESTION}' --temperature 0"):
            bootstrap.run([lyc, "chat", NAME, QUESTION, "--temperature", "0"], env)
        bootstrap.run([lyc, "ls"], env)
    except bootstrap.SetupError as error:
        bootstrap.say(f"error: {error}")
        return 1
    bootstrap.say(
        f"""
The endpoint stays up when this terminal closes. To go on:
    {lyc} chat {NAME} "…"        ask it something else
    {lyc} keys create {NAME}     a key for your own program
    {lyc} logs {NAME} -f         what the engine says
    {lyc} down {NAME}            stop it
    {lyc} controller stop         stop what runs in the background"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
