# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts registries for tests: Debian's docker-registry, plain or with TLS and a password; the embedded one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

PATHS = os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin"


def tool(name):
    path = shutil.which(name, path=PATHS)
    assert path, f"{name} is missing; test.sh installs it"
    return path


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def certificate(directory: Path) -> tuple[Path, Path]:
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run([tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                    "/CN=registry", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key),
                    "-out", str(cert)], check=True, capture_output=True, timeout=60)
    return key, cert


@contextmanager
def docker_registry(directory: Path, *, user: str = "", password: str = "", tls: bool = False):
    """Yields ``(address, certificate or None)``; the registry listens on loopback and ends with the block."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    cert = None
    config = ["version: 0.1", "log: {level: error}", "storage:", "  delete: {enabled: true}", "  filesystem:",
              f"    rootdirectory: {directory / 'data'}", "http:", f"  addr: 127.0.0.1:{port}"]
    if tls:
        key, cert = certificate(directory)
        config += ["  tls:", f"    certificate: {cert}", f"    key: {key}"]
    if user:
        lines = subprocess.run([tool("htpasswd"), "-Bbn", user, password], check=True, capture_output=True,
                               timeout=30).stdout
        (directory / "htpasswd").write_bytes(lines)
        config += ["auth:", "  htpasswd:", "    realm: test", f"    path: {directory / 'htpasswd'}"]
    (directory / "config.yml").write_text("\n".join(config) + "\n")
    process = subprocess.Popen([tool("docker-registry"), "serve", str(directory / "config.yml")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield f"127.0.0.1:{port}", cert
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def embedded_registry(directory: Path):
    """Yields the address of the daemon's registry, which runs in a thread."""
    import asyncio
    import threading

    from aiohttp import web
    from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.server import make_app
    from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.storage import Storage

    sock = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    started, stopping = threading.Event(), asyncio.Event()

    async def serve():
        runner = web.AppRunner(make_app(Storage(directory)))
        await runner.setup()
        await web.SockSite(runner, sock).start()
        started.set()
        await stopping.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(20)
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


def wait_for(port, process):
    for _attempt in range(400):
        assert process.poll() is None, "the registry ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the registry never listened")


def skopeo(*words, authfile: Path | None = None):
    """Run skopeo; its standard output."""
    command = [tool("skopeo"), *map(str, words)]
    env = {**os.environ, **({"REGISTRY_AUTH_FILE": str(authfile)} if authfile else {})}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout
