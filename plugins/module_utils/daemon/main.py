# SPDX-License-Identifier: GPL-3.0-or-later
"""unid: serves the engine on a UNIX socket, and an OCI registry on an address of its own.

Starting is quick and stopping is harmless: no VM depends on it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon import handover, methods
from ansible_collections.uni.engine.plugins.module_utils.daemon.commands import Commands
from ansible_collections.uni.engine.plugins.module_utils.daemon.events import Events
from ansible_collections.uni.engine.plugins.module_utils.daemon.rpc import RpcServer, allow, answers
from ansible_collections.uni.engine.plugins.module_utils.daemon.supervisor import Supervisor
from ansible_collections.uni.engine.plugins.module_utils.engine.client import own_version
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

SOCKET = "unid.sock"
EVENTS = "events.jsonl"

_log = logging.getLogger("unid")


@dataclass(frozen=True)
class Options:
    """What the daemon was told."""

    root: Root
    socket: Path
    group: int | None = None
    registry: tuple[str, int] | None = None
    htpasswd: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    program: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The daemon's options, beside the root directory."""
    parser.add_argument("--socket", type=Path, help=f"where to listen (default: ROOT/run/{SOCKET})")
    parser.add_argument("--group", help="members of this group may use the daemon, which is as good as being its user")
    parser.add_argument("--registry", metavar="ADDRESS:PORT", help="serve an OCI registry there")
    parser.add_argument("--registry-htpasswd", type=Path, metavar="FILE", help="users of the registry (htpasswd -B)")
    parser.add_argument("--registry-cert", type=Path, metavar="FILE", help="the registry's certificate (PEM)")
    parser.add_argument("--registry-key", type=Path, metavar="FILE", help="its private key (PEM)")


def options_of(args: argparse.Namespace, root: Root) -> Options:
    """What the daemon was told. :raises UsageError: it does not fit together"""
    options = Options(root, args.socket or root.run / SOCKET, _group(args.group), _address(args.registry),
                      args.registry_htpasswd, args.registry_cert, args.registry_key,
                      (sys.executable, "-IS", os.path.abspath(sys.argv[0])), tuple(sys.argv[1:]))
    if (options.certificate is None) != (options.key is None):
        raise UsageError("a certificate and its key go together", code="daemon.tls")
    guarded = options.htpasswd is not None and options.certificate is not None
    if options.registry and not guarded and not _is_loopback(options.registry[0]):
        raise UsageError(f"a registry on {options.registry[0]} needs users and TLS", code="daemon.open_registry",
                         hint="give --registry-htpasswd, --registry-cert and --registry-key, or listen on 127.0.0.1")
    return options


def _group(name: str | None) -> int | None:
    if name is None:
        return None
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"there is no group {name!r}", code="daemon.group") from None


def _address(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _colon, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--registry {text!r} is not understood", code="daemon.registry",
                         hint="expected ADDRESS:PORT, such as 127.0.0.1:5000")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve(options: Options) -> None:
    """Run until SIGTERM or SIGINT, or until the installed program takes over, which does not return."""
    came = handover.arrive()
    stopping, renewing = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    events = Events(options.root.log / EVENTS)
    events.start(came.events if came else None)
    supervisor = Supervisor(options.root)
    commands = Commands(options.program, str(options.root.path))
    table = methods.build(options.root, events, commands)
    about = About(options, supervisor, commands, renewing)
    table.add("daemon.status", about.status)
    table.add("daemon.renew", about.renew)
    server = RpcServer(table, allow({0, os.geteuid()}, options.group))
    if came:
        for pid in came.commands:
            commands.watch(pid)
        server.go_on(socket.socket(fileno=came.listening), came.connections)
    else:
        if answers(options.root.run / SOCKET):
            raise HostError(f"a daemon already listens for {options.root.path}", code="daemon.running",
                            hint="stop it first")
        await server.start(options.socket, group=options.group)
    _publish(options)
    registry = await _start_registry(options, came.registry if came else None) if options.registry else None
    await supervisor.start()
    follower = loop.create_task(_follow(events, supervisor))
    _notify("READY=1")
    _log.info("%s %s, listening on %s, root %s", "going on as" if came else "this is", own_version(), options.socket,
              options.root.path)
    await _first(stopping, renewing)
    _notify("STOPPING=1" if stopping.is_set() else "RELOADING=1")
    if not stopping.is_set() and server.socket is not None:
        place = await events.pause()
        kept = os.dup(registry.socket.fileno()) if registry else None
        connections = await server.hand_over()
        if registry is not None:
            await registry.runner.cleanup()
        await supervisor.stop()
        handover.leave(handover.Handover(server.socket.fileno(), kept, connections, commands.running(), place),
                       options.program, options.arguments)
    follower.cancel()
    await server.stop()
    await supervisor.stop()
    if registry is not None:
        await registry.runner.cleanup()
    events.stop()
    _unpublish(options)


async def _first(*events: asyncio.Event) -> None:
    """Wait for one of them."""
    tasks = [asyncio.get_running_loop().create_task(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


class About:
    """What the daemon says of itself, and does to itself."""

    def __init__(self, options: Options, supervisor: Supervisor, commands: Commands, renewing: asyncio.Event) -> None:
        self._options = options
        self._supervisor = supervisor
        self._commands = commands
        self._renewing = renewing
        self._started = time.time()
        self._version = own_version()
        self._file = os.path.realpath(options.program[-1])

    def status(self) -> dict[str, Any]:
        """How the daemon is: version, program, whether another one is installed by now, root directory, pid, seconds
        since its start, keepers that it watches, commands that it runs."""
        program = self._options.program[-1]
        return {"version": self._version, "program": program, "outdated": os.path.realpath(program) != self._file,
                "root": str(self._options.root.path), "pid": os.getpid(), "started": self._started,
                "uptime": int(time.time() - self._started), "keepers": self._supervisor.watched(),
                "commands": len(self._commands.running())}

    async def renew(self) -> dict[str, Any]:
        """Go on as the uni that is installed now, in the same process; connections and commands stay."""
        await asyncio.to_thread(handover.check, self._options.program, self._options.arguments)
        self._renewing.set()
        return {"program": self._options.program[-1]}


def _publish(options: Options) -> None:
    """Where the root's own users look for the daemon: a link when it listens elsewhere."""
    place = options.root.run / SOCKET
    if place != options.socket.absolute():
        fresh = place.with_name(f".{SOCKET}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(options.socket.absolute())
        fresh.rename(place)


def _unpublish(options: Options) -> None:
    options.socket.unlink(missing_ok=True)
    (options.root.run / SOCKET).unlink(missing_ok=True)


async def _follow(events: Events, supervisor: Supervisor) -> None:
    """VMs that start or change get their keepers watched."""
    async for event in events.subscribe():
        if isinstance(event.get("vm"), str):
            supervisor.state_changed(event["vm"])


@dataclass(frozen=True)
class _Registry:
    """The registry while it is served."""

    runner: Any
    socket: socket.socket


async def _start_registry(options: Options, listening: int | None) -> _Registry:
    """The registry on its address, or on a socket that listens already. :raises HostError: code ``daemon.address``"""
    from aiohttp import web
    from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.auth import Htpasswd
    from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.server import make_app
    from ansible_collections.uni.engine.plugins.module_utils.daemon.registry.storage import Storage

    if options.registry is None:
        raise AssertionError
    authorize = Htpasswd(options.htpasswd) if options.htpasswd else None
    runner = web.AppRunner(make_app(Storage(options.root.directory("registry")), authorize))
    await runner.setup()
    context = None
    try:
        if options.certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(options.certificate, options.key)
        sock = _listen(*options.registry) if listening is None else socket.socket(fileno=listening)
        await web.SockSite(runner, sock, ssl_context=context).start()
    except OSError as error:      # ssl.SSLError is one
        await runner.cleanup()
        raise HostError(f"the registry cannot listen on {options.registry[0]}:{options.registry[1]}: {error}",
                        code="daemon.address") from error
    return _Registry(runner, sock)


def _listen(host: str, port: int) -> socket.socket:
    """:raises OSError: the address cannot be had"""
    family, kind, proto, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                             flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing when it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.sendall(state.encode())


def run(options: Options) -> None:
    """Serve until told to stop, with a log on stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(options))
