"""From a reply, or the reason why there is none, to an answer or the name of what went wrong."""

from __future__ import annotations

import re

from ketchup_cli.judging.answers import CUT, Answer, read_answer
from ketchup_cli.judging.menus import Menu, Protocol
from ketchup_cli.judging.wire import Failure, Reply

_CUT = re.compile(r"does not match the expected \S+ format")
"""What llama.cpp says, with status 500, of an object that ended at `max_tokens`."""


def read_reply(reply: Reply | Failure, *, protocol: Protocol, menu: Menu, formed: bool) -> Answer:
    """Return what a reply is worth.

    Args:
        reply: what came back.
        protocol: the form the answer was asked in.
        menu: what may be answered.
        formed: whether the server was asked to hold the answer to its form.
    """
    if isinstance(reply, Failure):
        return Answer(outcome=reply.outcome, detail=reply.detail)
    if reply.status == 200:
        return read_answer(
            reply.body,
            content_type=reply.content_type,
            protocol=protocol,
            menu=menu,
        )
    detail = f"{reply.status} {reply.message}"
    if reply.status < 500:
        return Answer(outcome="http_4xx", detail=detail)
    if formed and _CUT.search(reply.message):
        return Answer(outcome="length", detail=f"{CUT}; the server says {detail}")
    return Answer(outcome="http_5xx", detail=detail)
