"""The tools of the MCP server, called in process: what they say about themselves, answer and refuse."""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from mcp import Client

from antiphon import Agent, verify_proof
from antiphon.model import errors
from antiphon.model.text import parse_id
from antiphon.serve.mcp import build_server


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada") as agent:
        yield agent


def ask(agent: Any, tool: str, **arguments: Any) -> Any:
    """The structured answer of one tool."""
    answer = call(agent, tool, **arguments)
    assert not answer.is_error, answer.content
    assert json.loads(answer.content[0].text) == answer.structured_content, "old clients read the text"
    return answer.structured_content


def refused(agent: Any, tool: str, **arguments: Any) -> str:
    """The text of a tool's error."""
    answer = call(agent, tool, **arguments)
    assert answer.is_error
    assert answer.structured_content is None
    return str(answer.content[0].text)


def call(agent: Any, tool: str, **arguments: Any) -> Any:
    async def one() -> Any:
        async with Client(build_server(agent)) as client:
            return await client.call_tool(tool, arguments)

    return anyio.run(one)


def tools_of(agent: Agent) -> dict[str, Any]:
    async def one() -> Any:
        async with Client(build_server(agent)) as client:
            return (await client.list_tools()).tools

    return {tool.name: tool for tool in anyio.run(one)}


def test_tools_say_what_they_do(ada: Agent) -> None:
    tools = tools_of(ada)
    assert set(tools) == {"remember", "recall", "history", "prove", "forget"}
    hints = {
        name: (tool.annotations.read_only_hint, tool.annotations.destructive_hint, tool.annotations.idempotent_hint)
        for name, tool in tools.items()
    }
    assert hints == {
        "remember": (False, False, False),
        "recall": (True, False, True),
        "history": (True, False, True),
        "prove": (True, False, True),
        "forget": (False, False, True),
    }
    assert not any(tool.annotations.open_world_hint for tool in tools.values())
    for tool in tools.values():
        assert tool.title
        assert tool.output_schema
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), f"{tool.name}({name}) is not explained"
    assert "antiphon forget --requests" in tools["forget"].description
    assert "erases nothing" in tools["forget"].description


def test_what_is_remembered_is_recalled_with_its_history(ada: Agent) -> None:
    first = ask(ada, "remember", text="Grace drinks coffee", user="Grace", tags=["drinks"], type="preference")
    second = ask(ada, "remember", text="Grace drinks tea now", user="Grace", corrects=first["entity"])
    found = ask(ada, "recall", query="what does Grace drink?")["memories"]
    assert [hit["text"] for hit in found] == ["Grace drinks tea now", "Grace drinks coffee"]
    assert found[1]["superseded_by"] == second["entity"]
    assert found[0]["author"] == "ada"
    assert ask(ada, "recall", query="grace", user="Nobody") == {"memories": []}

    told = ask(ada, "history", entity=first["entity"])
    assert told["total"] == 2
    assert [event["event"] for event in told["events"]] == [first["event"], second["event"]]
    assert told["events"][0]["body"]["text"] == "Grace drinks coffee"
    assert ask(ada, "history", entity=first["event"]) == told
    newest = ask(ada, "history", entity=first["entity"], limit=1)
    assert newest["total"] == 2
    assert [event["event"] for event in newest["events"]] == [second["event"]]


def test_what_happened_before_keeps_its_time(ada: Agent) -> None:
    ask(ada, "remember", text="the bridge opened", occurred="1937-05-27T09:30:00Z", namespace="city")
    [hit] = ask(ada, "recall", query="bridge", until="1940-01-01", namespace="city")["memories"]
    assert hit["time"] == "1937-05-27T09:30:00Z"
    assert ask(ada, "recall", query="bridge", since="1940-01-01") == {"memories": []}
    assert ask(ada, "recall", query="bridge", namespace="country") == {"memories": []}


def test_a_proof_checks_without_the_agent(ada: Agent) -> None:
    made = ask(ada, "remember", text="the deal was 12,000")
    proof = ask(ada, "prove", event=made["event"])
    proven = verify_proof(proof["proof"].encode(), principal=parse_id(proof["principal"]))
    assert b"the deal was 12,000" in proven.body
    assert proof["event"] == made["event"]


def test_forget_files_one_request_and_erases_nothing(ada: Agent) -> None:
    made = ask(ada, "remember", text="the password is swordfish")
    asked = ask(ada, "forget", event=made["event"])
    assert asked["erased"] is False
    assert "antiphon -a ada forget --requests" in asked["next_step"]
    assert ask(ada, "forget", event=made["event"])["request"] == asked["request"], "asking twice is asking once"
    assert [request["event"] for request in ada.forget_requests()] == [made["event"]]
    assert ask(ada, "recall", query="swordfish")["memories"]
    assert ada.verify().ok

    ada.forget(made["event"])
    assert ada.forget_requests() == []
    assert ask(ada, "recall", query="swordfish") == {"memories": []}


@pytest.mark.parametrize(
    ("tool", "arguments", "advice"),
    [
        ("recall", {"query": "??"}, "no words"),
        ("recall", {"query": "tea", "since": "yesterday"}, "write it like 2026-11-21"),
        ("recall", {"query": "tea", "limit": 0}, "limit: Input should be greater than or equal to 1"),
        ("remember", {"text": "x", "significance": 2}, "significance: Input should be less than or equal to 1"),
        ("remember", {}, "text: Field required"),
        ("remember", {"text": " \n"}, "there is nothing to remember"),
        ("remember", {"text": "x" * 300_000}, "BODY_BYTES_MAX"),
        ("remember", {"text": "x", "corrects": "not an id"}, "expected a UUID"),
        ("history", {"entity": "not an id"}, "expected a UUID"),
        ("prove", {"event": "999999"}, "no event"),
        ("forget", {"event": "b/1"}, "is not an id"),
        ("nothing", {}, "nothing"),
    ],
)
def test_errors_advise_and_show_no_traceback(ada: Agent, tool: str, arguments: dict[str, Any], advice: str) -> None:
    said = refused(ada, tool, **arguments)
    assert advice in said
    assert "Traceback" not in said
    assert ".py" not in said
    assert "\n" not in said


class _Failing:
    """An agent whose recall fails in one way."""

    name = "ada"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def recall(self, *_: Any, **__: Any) -> Any:
        raise self._error


def test_a_full_disk_is_told_as_it_is() -> None:
    advice = "no room left on the device: free some space; nothing was lost"
    assert advice in refused(_Failing(errors.DiskFull(advice)), "recall", query="tea")


def test_our_own_bug_is_not_shown_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    said = refused(_Failing(RuntimeError("secret detail of a bug")), "recall", query="tea")
    assert "secret detail" not in said
