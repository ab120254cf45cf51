import json
from typing import Any

import pytest

from ketchup_cli.judging.wire import Reply


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no such field", "code": 400}},
        {"error": "no such field"},
        {"object": "error", "message": "no such field"},
        {"detail": "no such field"},
    ],
    ids=["openai", "ollama", "flat", "fastapi"],
)
def test_what_a_server_says_is_found_wherever_it_says_it(body: dict[str, Any]) -> None:
    reply = Reply(
        status=400, content_type="application/json", body=json.dumps(body).encode(), headers={}
    )

    assert reply.message == "no such field"
