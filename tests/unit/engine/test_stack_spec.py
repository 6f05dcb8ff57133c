# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.graph import find_cycle, order
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.spec import load_stack, parse_stack

STACK = """
name: shop
services:
  db:
    image: redis:7
    command: redis-server --save "" --appendonly yes
    memory: 64M
    volumes: [data:/data]
    health_check: tcp:6379
  web:
    image: nginx
    environment: {PORT: 80, DEBUG: false, EMPTY: }
    ports:
      - 22:22
      - 8080:80
      - {target: 443, published: 8443, host_ip: 127.0.0.1}
    restart: no
    depends_on:
      db: {condition: service_healthy}
    healthcheck: {http: "80:/ok", interval: 2s, retries: 5}
volumes: {data: {size: 64M}}
"""


def parse(text, **variables):
    return parse_stack(text, file="stack.yaml", variables=variables)


def refused(text, **variables):
    with pytest.raises(UsageError) as caught:
        parse(text, **variables)
    return caught.value


def test_a_whole_stack():
    spec = parse(STACK)
    assert spec.name == "shop"
    database, web = spec.services["db"], spec.services["web"]
    assert database.options["args"] == ["redis-server", "--save", "", "--appendonly", "yes"]
    assert database.options["memory"] == 64 << 20
    assert database.options["volumes"] == ["data:/data"]
    assert web.options["env"] == {"PORT": "80", "DEBUG": "false", "EMPTY": ""}
    # 22:22 unquoted is 1342 for a YAML 1.1 parser that does not care.
    assert web.options["ports"] == ["0.0.0.0:22:22/tcp", "0.0.0.0:8080:80/tcp", "127.0.0.1:8443:443/tcp"]
    assert web.options["restart_policy"] == "no"
    assert web.options["health_check"] == {"test": "http:80:/ok", "interval": 2.0, "retries": 5}
    assert web.depends_on[0].condition == "service_healthy"
    assert spec.instance_name("web", 1) == "shop-web-1"
    assert spec.object_name("data", spec.volumes["data"]) == "shop-data"


@pytest.mark.parametrize(("text", "where", "hint"), [
    ("services:\n  a:\n    imgae: x\n", "stack.yaml:3: services.a.imgae:", "did you mean 'image'?"),
    ("servces:\n  a: {image: x}\n", "stack.yaml:1: servces:", "did you mean 'services'?"),
    ("services:\n  a: {image: x}\n  a: {image: y}\n", "stack.yaml:3: services.a: the key stands twice", ""),
    ("services:\n  a:\n    image: x\n    memory: lots\n", "stack.yaml:4: services.a.memory:", "512M"),
    ("services:\n  a:\n    image: x\n    ports:\n    - 1:2\n    - 1:99999\n",
     "stack.yaml:6: services.a.ports.1:", "65535"),
    ("services:\n  a:\n    image: x\n    health_check: udp:1\n", "stack.yaml:4: services.a.health_check:", "tcp:PORT"),
    ("services:\n  a:\n    image: x\n    depends_on: [b]\n", "stack.yaml:4: services.a.depends_on:", "services: a"),
    ("services:\n  a:\n    image: x\n    volumes: ['v:/v']\n", "stack.yaml:4: services.a.volumes:", "`volumes:`"),
    ("services:\n  a:\n    image: x\n    healthcheck: {test: [CMD, true]}\n", "stack.yaml:4:", "tcp: PORT"),
    ("services:\n  A_b: {image: x}\n", "stack.yaml:2: services.A_b:", "lower-case"),
    ("services:\n  a: {image: x, restart: sometimes}\n", "stack.yaml:2: services.a.restart:", "on-failure"),
    ("services: [\n", "stack.yaml:2: not valid YAML", ""),
    ("", "stack.yaml:1: the file is empty", "services"),
    ("services:\n  a: {image: x, scale: 2, ports: ['80:80']}\n", "services.a.ports:", "host port 0"),
])
def test_errors_name_file_line_key_and_the_nearest_word(text, where, hint):
    error = refused(text)
    assert where in error.message
    assert hint in error.hint


def test_cycles_are_named():
    error = refused("""
services:
  a: {image: x, depends_on: [b]}
  b: {image: x, depends_on: [c]}
  c: {image: x, depends_on: [a]}
""")
    assert error.code == "stack.cycle"
    assert "a -> b -> c -> a" in error.message


def test_waiting_for_health_needs_a_health_check():
    error = refused("services:\n  a: {image: x}\n  b: {image: x, depends_on: {a: {condition: service_healthy}}}\n")
    assert error.code == "stack.no_health"


def test_variables():
    text = "services:\n  a:\n    image: ${IMAGE:-hello}:$TAG\n    cpus: ${CPUS}\n    environment: [PRICE=5$$]\n"
    service = parse(text, TAG="1", CPUS="2").services["a"]
    assert service.options == {"image": "hello:1", "cpus": 2, "env": {"PRICE": "5$"}}
    error = refused(text, TAG="1")
    assert "stack.yaml:4" in error.message and "CPUS" in error.message


def test_alias_bombs_are_refused():
    lines = ["services: {s: {image: x}}", "x-0: &a0 [0,0,0,0,0,0,0,0,0,0]"]
    lines += [f"x-{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than" in refused("\n".join(lines)).message


def test_env_file_and_dot_env(tmp_path):
    (tmp_path / ".env").write_text("TAG=2\n")
    (tmp_path / "app.env").write_text("# comment\nA=1\nB='two words'\n")
    (tmp_path / "stack.yaml").write_text(
        "services:\n  a:\n    image: x:$TAG\n    env_file: app.env\n    environment: {A: over}\n")
    service = load_stack(tmp_path / "stack.yaml").services["a"]
    assert service.options["image"] == "x:2"
    assert service.options["env"] == {"A": "over", "B": "two words"}
    (tmp_path / "app.env").unlink()
    with pytest.raises(UsageError, match=r"stack.yaml:4: services.a.env_file: there is no env file"):
        load_stack(tmp_path / "stack.yaml")


def test_graph():
    assert order({"web": ["db", "cache"], "db": [], "cache": ["db"]}) == (("db",), ("cache",), ("web",))
    chain = {str(n): [str(n + 1)] for n in range(5000)}
    assert find_cycle({**chain, "5000": []}) == ()
    assert find_cycle({**chain, "5000": ["4999"]}) == ("4999", "5000", "4999")
