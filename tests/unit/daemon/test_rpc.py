# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import os

import pytest
from ansible_collections.uni.engine.plugins.module_utils.daemon.client import Client
from ansible_collections.uni.engine.plugins.module_utils.daemon.connection import MAX_LINE, Peer
from ansible_collections.uni.engine.plugins.module_utils.daemon.rpc import Methods, RpcServer, allow
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, NotFoundError, UniError


def greet(name: str, times: int = 1) -> list[str]:
    """Say hello.

    More text."""
    return [f"hello {name}"] * times


def fail() -> None:
    raise NotFoundError("there is no VM 'x'", code="vm.not_found", hint="see uni ps")


def crash() -> None:
    raise ValueError("token=secret")


async def count(to: int):
    """Count."""
    for number in range(to):
        yield number


async def forever():
    """Never ends."""
    yield "started"
    await asyncio.Event().wait()


MYSELF = allow([os.geteuid()])


def methods():
    table = Methods("1.2.3")
    for function in (greet, fail, crash, count, forever):
        table.add(f"test.{function.__name__}", function)
    return table


def talk(tmp_path, *lines, rule=MYSELF, answers=None):
    """Send ``lines`` on one connection; the answers that come, as many as asked for (default: one a line)."""
    async def run():
        server = RpcServer(methods(), rule)
        await server.start(tmp_path / "s")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"), limit=4 * MAX_LINE)
        for line in lines:
            writer.write(line if isinstance(line, bytes) else json.dumps({"jsonrpc": "2.0", **line}).encode() + b"\n")
        result = []
        for _index in range(len(lines) if answers is None else answers):
            result.append(json.loads(await asyncio.wait_for(reader.readline(), 10)))
        writer.close()
        await server.stop()
        return result

    return asyncio.run(run())


def test_calls_by_name_and_by_position(tmp_path):
    answers = talk(tmp_path, {"id": 1, "method": "test.greet", "params": {"name": "a"}},
                   {"id": "b", "method": "test.greet", "params": ["b", 2]})
    assert sorted(a["result"] for a in answers) == [["hello a"], ["hello b", "hello b"]]


def test_a_notification_has_no_answer(tmp_path):
    answers = talk(tmp_path, {"method": "test.greet", "params": ["x"]},
                   {"id": 7, "method": "test.greet", "params": ["y"]}, answers=1)
    assert answers[0]["id"] == 7


@pytest.mark.parametrize(("line", "code"), [
    (b"{nonsense\n", -32700),
    (b"[" * 100_000 + b"\n", -32700),
    (b"42\n", -32600),
    (b"[]\n", -32600),
    (b'{"jsonrpc":"1.0","id":1,"method":"x"}\n', -32600),
    ({"id": 1, "method": "test.nothing"}, -32601),
    ({"id": 1, "method": "test.greet"}, -32602),
    ({"id": 1, "method": "test.greet", "params": {"nam": "x"}}, -32602),
    (b"x" * (MAX_LINE + 10) + b"\n", -32600),
], ids=range(9))
def test_bad_requests(tmp_path, line, code):
    assert talk(tmp_path, line)[0]["error"]["code"] == code


def test_errors_of_the_engine_keep_their_code_and_bugs_keep_their_secrets(tmp_path):
    error = talk(tmp_path, {"id": 1, "method": "test.fail"})[0]["error"]
    assert error["data"] == {"code": "vm.not_found", "message": "there is no VM 'x'", "hint": "see uni ps"}
    error = talk(tmp_path, {"id": 1, "method": "test.crash"})[0]["error"]
    assert error["code"] == -32603 and "secret" not in str(error)


def test_streams_and_cancel(tmp_path):
    answers = talk(tmp_path, {"id": 1, "method": "test.count", "params": [3]}, answers=4)
    assert [a["params"]["item"] for a in answers[:3]] == [0, 1, 2]
    assert answers[3]["result"] == {"items": 3}
    answers = talk(tmp_path, {"id": 1, "method": "test.forever"}, {"method": "cancel", "params": {"id": 1}},
                   {"id": 2, "method": "test.greet", "params": ["z"]}, answers=2)
    assert answers[1]["id"] == 2


def test_strangers_are_refused(tmp_path):
    answers = talk(tmp_path, {"id": 1, "method": "test.greet", "params": ["x"]}, rule=allow([]))
    assert answers[0]["error"]["data"]["code"] == "daemon.forbidden"


def test_the_client_is_told_why_it_is_refused(tmp_path):
    async def run():
        server = RpcServer(methods(), allow([]))
        await server.start(tmp_path / "s")

        def ask():
            with Client(tmp_path / "s", timeout=10) as client, pytest.raises(UniError) as caught:
                client.call("test.greet", name="x")
            return caught.value.code

        code = await asyncio.to_thread(ask)
        await server.stop()
        return code

    assert asyncio.run(run()) == "daemon.forbidden"


def test_the_rule_knows_groups():
    assert allow([5])(Peer(1, 5, 0)) and not allow([5])(Peer(1, 6, 0))
    assert allow([], 7)(Peer(1, 6, 7)) and allow([], 7)(Peer(1, 6, 8, frozenset([7])))
    assert not allow([], 4242)(Peer(1, 999999, 1))


def test_discover_describes_parameters(tmp_path):
    document = talk(tmp_path, {"id": 1, "method": "rpc.discover"})[0]["result"]
    method = next(m for m in document["methods"] if m["name"] == "test.greet")
    assert method["summary"] == "Say hello."
    assert method["params"] == [
        {"name": "name", "required": True, "schema": {"type": "string"}},
        {"name": "times", "required": False, "schema": {"type": "integer", "default": 1}},
    ]


def test_two_daemons_on_one_socket(tmp_path):
    async def run():
        path = tmp_path / "s"
        path.write_text("stale")
        first, second = RpcServer(methods(), allow([])), RpcServer(methods(), allow([]))
        await first.start(path)
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(HostError, match="already listens"):
            await second.start(path)
        await first.stop()
        await second.start(path)
        await second.stop()

    asyncio.run(run())


def test_a_socket_that_lies_deep(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    async def run():
        server = RpcServer(methods(), MYSELF)
        await server.start(deep / "unid.sock")

        def ask():
            with Client(deep / "unid.sock", timeout=10) as client:
                return client.call("test.greet", name="deep")

        answer = await asyncio.to_thread(ask)
        await server.stop()
        return answer

    assert asyncio.run(run()) == ["hello deep"]
