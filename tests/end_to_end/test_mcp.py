"""`antiphon mcp` as clients start it: a process that speaks over stdin and stdout, several of them on one agent.

Does *not* start Claude Desktop or any other product: the client is the one of the official SDK.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client

from antiphon import Agent, verify_proof
from antiphon.log.store import LogRole
from antiphon.model.text import parse_id

COMMAND = [sys.executable, "-c", "from antiphon.cli import main; main()"]
PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text("utf-8")
SECONDS_MAX = 60


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("ANTIPHON_", "XDG_"))}


def cli(*words: str, check: bool = True) -> str:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@asynccontextmanager
async def client(*words: str, errors: Path) -> AsyncIterator[ClientSession]:
    """A session with a server process of its own."""
    server = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], *words], env=variables())
    with errors.open("a") as log:
        async with stdio_client(server, errlog=log) as (reading, writing), ClientSession(reading, writing) as session:
            await session.initialize()
            yield session


def test_a_conversation_over_stdio(tmp_path: Path) -> None:
    cli("init", "ada")
    log = tmp_path / "stderr"

    async def talk() -> dict[str, Any]:
        with anyio.fail_after(SECONDS_MAX):
            async with client("-a", "ada", "mcp", errors=log) as session:
                tools = {tool.name: tool for tool in (await session.list_tools()).tools}
                reads = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
                assert set(tools) == {"remember", "recall", "history", "prove", "forget"}
                assert reads == {"recall", "history", "prove"}
                assert not any(tool.annotations and tool.annotations.destructive_hint for tool in tools.values())

                made = await session.call_tool("remember", {"text": "Grace prefers tea", "user": "Grace"})
                event, entity = made.structured_content["event"], made.structured_content["entity"]
                found = await session.call_tool("recall", {"query": "what does Grace prefer?"})
                assert [hit["event"] for hit in found.structured_content["memories"]] == [event]
                told = await session.call_tool("history", {"entity": entity})
                assert told.structured_content["total"] == 1
                proof = (await session.call_tool("prove", {"event": event})).structured_content
                asked = await session.call_tool("forget", {"event": event})
                assert asked.structured_content["erased"] is False
                still = await session.call_tool("recall", {"query": "tea"})
                assert still.structured_content["memories"]

                wrong = await session.call_tool("history", {"entity": "nobody"})
                assert wrong.is_error
                assert "expected a UUID" in wrong.content[0].text
                assert "Traceback" not in wrong.content[0].text
                return {"event": event, **proof}

    told = anyio.run(talk)
    assert b"Grace prefers tea" in verify_proof(told["proof"].encode(), principal=parse_id(told["principal"])).body

    assert told["event"] in cli("-a", "ada", "forget", "--requests", check=False), "without --yes it is a list"
    with Agent.open("ada") as ada:
        assert ada.recall("tea"), "nothing was erased"
        ada.forget(told["event"])
        assert ada.forget_requests() == []
        assert ada.recall("tea") == []
        assert ada.verify().ok
    assert "Traceback" not in log.read_text()
    assert "tea" not in log.read_text(), "what is remembered is not logged"


def test_stdout_carries_the_protocol_alone() -> None:
    cli("init", "ada")
    say = [
        {"id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "recall", "arguments": {"query": "?"}}},
        {"id": 3, "method": "tools/call", "params": {"name": "remember", "arguments": {"text": "a\nb\u2028c 🦉"}}},
    ]  # fmt: skip
    with subprocess.Popen(
        [*COMMAND, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        answers = []
        for message in say:
            server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            server.stdin.flush()
            if "id" in message:
                answers.append(json.loads(server.stdout.readline()))
        rest, errors = server.communicate(timeout=SECONDS_MAX)
    assert server.returncode == 0, "the server ends when its client leaves"
    assert rest == ""
    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert answers[1]["result"]["isError"]
    assert "isError" not in answers[2]["result"] or not answers[2]["result"]["isError"]
    assert "Traceback" not in errors


def test_an_unknown_agent_is_said_before_the_protocol_begins() -> None:
    cli("init", "ada")
    done = subprocess.run(
        [*COMMAND, "-a", "nobody", "mcp"], input="", capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no agent 'nobody'" in done.stderr


def test_clients_and_command_line_share_one_agent(tmp_path: Path) -> None:
    """Two servers, this process and the command line write at once: every memory is there once, in one log."""
    each = 12
    ada = Agent.create("ada")
    faults: list[BaseException] = []

    def here() -> None:
        try:
            for n in range(each):
                ada.remember(f"here number {n}")
        except BaseException as error:
            faults.append(error)
            raise

    def there() -> None:
        try:
            for n in range(2):
                cli("-a", "ada", "remember", f"shell number {n}")
        except BaseException as error:
            faults.append(error)
            raise

    async def serve_and_write() -> None:
        async def write(name: str) -> None:
            async with client("-a", "ada", "mcp", errors=tmp_path / "stderr") as session:

                async def one(n: int) -> None:
                    answer = await session.call_tool("remember", {"text": f"{name} number {n}"})
                    assert not answer.is_error, answer.content
                    found = await session.call_tool("recall", {"query": f'"{name} number {n}"', "limit": 100})
                    texts = [hit["text"] for hit in found.structured_content["memories"]]
                    assert f"{name} number {n}" in texts, "what was acknowledged is found"

                async with anyio.create_task_group() as group:
                    for n in range(each):
                        group.start_soon(one, n)

        with anyio.fail_after(SECONDS_MAX):
            async with anyio.create_task_group() as group:
                group.start_soon(write, "red")
                group.start_soon(write, "blue")

    threads = [threading.Thread(target=work) for work in (here, there)]
    for thread in threads:
        thread.start()
    anyio.run(serve_and_write)
    for thread in threads:
        thread.join(SECONDS_MAX)
    assert not faults

    texts = [ada.get(hit.entity)["content"] for hit in ada.recall("number", limit=1_000)]  # type: ignore[index]
    wanted = [f"{who} number {n}" for who in ("here", "red", "blue") for n in range(each)]
    assert sorted(texts) == sorted([*wanted, "shell number 0", "shell number 1"])
    own = [head for head in ada.replica.heads() if head.owner == ada.record_of_agent.agent]
    assert [head.role for head in own] == [LogRole.OWN], "nobody took the file for a copy and began a log of its own"
    kinds = [event.kind for event in ada.log()]
    assert kinds.count("memory.remembered") == len(wanted) + 2
    verdict = ada.verify()
    assert verdict.ok
    assert verdict.size == own[0].size
    ada.close()


def test_the_owner_forgets_while_a_server_is_open(tmp_path: Path) -> None:
    """An idle server holds nothing back: the request is answered in full, and the server no longer finds it."""
    cli("init", "ada")

    async def talk() -> None:
        with anyio.fail_after(SECONDS_MAX):
            async with client("-a", "ada", "mcp", errors=tmp_path / "stderr") as session:
                for text in ("the password is swordfish", "the weather is fine"):
                    made = await session.call_tool("remember", {"text": text})
                    if "swordfish" in text:
                        await session.call_tool("forget", {"event": made.structured_content["event"]})
                assert (await session.call_tool("recall", {"query": "swordfish"})).structured_content["memories"]
                said = await anyio.to_thread.run_sync(lambda: cli("forget", "--requests", "--yes", "--json"))
                assert json.loads(said)["complete"], said
                gone = await session.call_tool("recall", {"query": "swordfish"})
                assert gone.structured_content == {"memories": []}
                left = await session.call_tool("recall", {"query": "weather"})
                assert len(left.structured_content["memories"]) == 1
                more = await session.call_tool("remember", {"text": "and still it writes"})
                assert not more.is_error

    anyio.run(talk)
    with Agent.open("ada") as ada:
        assert ada.verify().ok


def _configurations() -> list[dict[str, Any]]:
    found = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
    assert found, "the page shows no configuration"
    return [server for page in found for server in page["mcpServers"].values()]


@pytest.mark.parametrize("shown", _configurations(), ids=lambda shown: Path(shown["command"]).name)
def test_the_configurations_of_the_page_start_the_server(shown: dict[str, Any], tmp_path: Path) -> None:
    """With this machine's command, and its paths in place of the page's."""
    given = {name: value.replace("/home/grace", str(tmp_path)) for name, value in shown.get("env", {}).items()}
    if "ANTIPHON_KEY_FILE" in given:
        key = Path(given["ANTIPHON_KEY_FILE"])
        key.parent.mkdir(parents=True)
        key.write_text("ab" * 32)
    assert Path(shown["command"]).name == "antiphon"
    started = {**os.environ, **given}
    subprocess.run([*COMMAND, "init", "ada"], env=started, capture_output=True, check=True, timeout=SECONDS_MAX)

    async def talk() -> list[str]:
        server = StdioServerParameters(
            command=COMMAND[0], args=[*COMMAND[1:], *shown["args"]], env={**variables(), **given}
        )
        with anyio.fail_after(SECONDS_MAX):
            async with stdio_client(server) as (reading, writing), ClientSession(reading, writing) as session:
                await session.initialize()
                return [tool.name for tool in (await session.list_tools()).tools]

    assert "remember" in anyio.run(talk)


def test_the_program_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    cli("init", "ada")
    wanted = 'StdioServerParameters(command="antiphon", args=["-a", "ada", "mcp"], env=dict(os.environ))'
    assert wanted in code
    args = [*COMMAND[1:], "-a", "ada", "mcp"]
    ours = f"StdioServerParameters(command={COMMAND[0]!r}, args={args!r}, env={variables()!r})"
    exec(compile(code.replace(wanted, ours), "docs/mcp.md", "exec"), {"__name__": "__main__"})
    assert "Grace prefers tea" in capfd.readouterr().out
