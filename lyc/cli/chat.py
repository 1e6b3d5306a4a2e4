"""`lyc chat NAME`: talk to a deployment through its gateway, as any client would."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from lyc.cli.options import Json, Name, existing
from lyc.cli.session import open_session
from lyc.errors import Failed, Interrupted, NotAuthorised, Unreachable, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lyc.cli.endpoint import Endpoint
    from lyc.cli.output import Output

EXAMPLES = """
lyc chat support-8b
lyc chat support-8b "Why is the sky blue?"
git diff | lyc chat support-8b --system "Review this."
"""
LABEL = "lyc-chat"
_KEY_SECONDS = 24 * 3600.0
_ANSWER_SECONDS = 600.0
_SETTLE_SECONDS = 15.0


def chat(
    context: typer.Context,
    name: Name,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to ask; without it, a conversation, or standard input.")
    ] = None,
    *,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="Instruction to the model.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", metavar="N", help="Longest answer.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", metavar="T", help="0: no chance.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a deployment something, or talk to it. Answers stream; Ctrl-C stops one."""
    from lyc.cli.endpoint import Endpoint
    from lyc.cli.proof import passing_key

    session = open_session(context, as_json=as_json)
    client = existing(session, name)
    deployment = client.deployment(name)
    waking = deployment["state"] in ("idle", "waking")
    if deployment["url"] is None or not (deployment["replicas"]["ready"] or waking):
        raise Unreachable(
            "no-replica", f"{name} is {deployment['state']}: no replica is ready", hint=f"lyc status {name}"
        )
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise UsageError("no-prompt", "there is nothing to ask", hint=f'lyc chat {name} "your question"')
    if prompt is None and as_json:
        raise UsageError("no-prompt", "--json needs a prompt", hint=f'lyc chat {name} "your question" --json')
    if waking:
        session.output.say(f"{name} is asleep; waking it …")
    with passing_key(session.client, name, label=LABEL, ttl=_KEY_SECONDS) as key:
        talk = _Talk(Endpoint(deployment["url"], key, name), session.output, system, max_tokens, temperature)
        if prompt is not None:
            talk.once(prompt)
        else:
            talk.conversation()


class _Talk:
    """A conversation: every question is sent with all that was said before."""

    def __init__(
        self,
        endpoint: Endpoint,
        output: Output,
        system: str | None,
        max_tokens: int | None,
        temperature: float | None,
    ) -> None:
        self._endpoint = endpoint
        self._output = output
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._said: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        self._template = True

    def once(self, prompt: str) -> None:
        began = time.monotonic()
        try:
            answer = self._ask(prompt)
        except KeyboardInterrupt:
            self._end_line()
            raise Interrupted("interrupted", "the answer was stopped") from None
        if self._output.as_json:
            seconds = round(time.monotonic() - began, 3)
            self._output.document({"model": self._endpoint.model, "answer": answer, "seconds": seconds})
        else:
            self._output.raw("" if answer.endswith("\n") else "\n")

    def conversation(self) -> None:
        self._output.say(f"talking to {self._endpoint.model}; Ctrl-C stops an answer, Ctrl-D ends")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  its import gives input() editing and history
        while True:
            try:
                question = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                self._end_line()
                return
            if question in {"/exit", "/quit"}:
                return
            if not question:
                continue
            try:
                self._ask(question)
            except KeyboardInterrupt:
                self._said.pop()
            except Failed as problem:  # such as a conversation that has grown too long: it may go on without this
                self._said.pop()
                self._output.error(problem)
            self._end_line()

    def _ask(self, question: str) -> str:
        self._said.append({"role": "user", "content": question})
        pieces: list[str] = []
        for piece in self._pieces(question):
            pieces.append(piece)
            if not self._output.as_json:
                self._output.raw(piece)
        answer = "".join(pieces)
        self._said.append({"role": "assistant", "content": answer})
        return answer

    def _pieces(self, question: str) -> Iterator[str]:
        from lyc.cli.endpoint import REFUSED

        if self._template:
            try:
                yield from self._settled()
                return
            except Failed as problem:
                if problem.ref != REFUSED or len(self._said) > 1:
                    raise
                refusal = problem
            # A model without a chat template refuses chat, and only completes texts. Any other refusal comes again now.
            try:
                yield from self._complete(question)
            except Failed:
                raise refusal from None
            self._template = False
            self._output.say("\n(the model has no chat template: it completes the text)")
            return
        yield from self._complete(question)

    def _settled(self) -> Iterator[str]:
        """The answer; asked for again, before its first piece, while the gateway does not know the new key yet."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            answer = self._endpoint.chat(
                self._said, max_tokens=self._max_tokens, temperature=self._temperature, timeout=_ANSWER_SECONDS
            )
            try:
                first = next(answer, "")
            except NotAuthorised:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            yield first
            yield from answer
            return

    def _complete(self, question: str) -> Iterator[str]:
        return self._endpoint.complete(
            question, max_tokens=self._max_tokens or 256, temperature=self._temperature, timeout=_ANSWER_SECONDS
        )

    def _end_line(self) -> None:
        self._output.raw("\n")
