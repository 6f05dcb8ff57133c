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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon import methods
from ansible_collections.uni.engine.plugins.module_utils.daemon.events import Events
from ansible_collections.uni.engine.plugins.module_utils.daemon.rpc import RpcServer, allow
from ansible_collections.uni.engine.plugins.module_utils.daemon.supervisor import Supervisor
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

SOCKET = "unid.sock"
EVENTS = "events.jsonl"
VERSION = "0.1.0"

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
                      (sys.executable, "-IS", os.path.abspath(sys.argv[0])))
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
    """Run until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    events = Events(options.root.log / EVENTS)
    events.start()
    supervisor = Supervisor(options.root)
    table = methods.build(options.root, events, supervisor, VERSION, options.program)
    server = RpcServer(table, allow({0, os.geteuid()}, options.group))
    await server.start(options.socket, group=options.group)
    registry = await _start_registry(options) if options.registry else None
    await supervisor.start()
    follower = loop.create_task(_follow(events, supervisor))
    _notify("READY=1")
    _log.info("listening on %s, root %s", options.socket, options.root.path)
    await stopping.wait()
    _notify("STOPPING=1")
    follower.cancel()
    await server.stop()
    await supervisor.stop()
    if registry is not None:
        await registry.cleanup()
    events.stop()
    options.socket.unlink(missing_ok=True)


async def _follow(events: Events, supervisor: Supervisor) -> None:
    """VMs that start or change get their keepers watched."""
    async for event in events.subscribe():
        if isinstance(event.get("vm"), str):
            supervisor.state_changed(event["vm"])


async def _start_registry(options: Options) -> Any:
    """The registry on its address. :raises HostError: code ``daemon.address``"""
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
        await web.TCPSite(runner, *options.registry, ssl_context=context).start()
    except OSError as error:      # ssl.SSLError is one
        await runner.cleanup()
        raise HostError(f"the registry cannot listen on {options.registry[0]}:{options.registry[1]}: {error}",
                        code="daemon.address") from error
    return runner


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
