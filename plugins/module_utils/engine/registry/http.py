# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to one registry: connections that are kept, TLS, authentication, retries, errors in words.

Formats: RFC 9110 (HTTP), RFC 6750 (Bearer), RFC 7617 (Basic), the token flow of the Distribution project
(docs/spec/auth/token), which the OCI Distribution Specification 1.1 leaves to the registry.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    HostError,
    RegistryError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.auth import Credentials, Endpoint

# One mebibyte: http.client's own 8 KiB would cost half of the speed.
BLOCK = 1 << 20
_ATTEMPTS = 4
_MAX_TEXT = 4 << 20
_REDIRECTS = 5
_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_USER_AGENT = "uni-engine/1"
# A second attempt would fail in the same way.
_HOPELESS = (ssl.SSLError, ConnectionRefusedError, socket.gaierror)
Body = Callable[[], Iterable[bytes]]


@dataclass
class Response:
    """An answer whose body has not been read yet. Close it, or read it to its end, before the next request."""

    status: int
    headers: http.client.HTTPMessage
    raw: http.client.HTTPResponse = field(repr=False)
    url: str = ""
    authorization: str = field(default="", repr=False)

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        return self.headers.get(name, "") or ""

    def text(self, limit: int = _MAX_TEXT) -> bytes:
        """The whole body of at most ``limit`` bytes.

        :raises RegistryError: code ``registry.too_large``
        """
        data = self.raw.read(limit + 1)
        if len(data) > limit:
            self.raw.close()
            raise RegistryError(f"the answer to {self.url} is larger than {limit} bytes", code="registry.too_large")
        return data


class Transport:
    """Talks to one registry. A thread uses a connection of its own.

    :param ca: file with certificates of authorities to trust instead of the system's
    :param timeout: seconds without a byte after which a request is given up
    :param sleep: replaced in tests
    """

    def __init__(self, endpoint: Endpoint, credentials: Credentials | None = None, *, ca: Path | None = None,
                 verify: bool = True, timeout: float = 60.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self.timeout = timeout
        self.sleep = sleep
        self.scheme = endpoint.scheme
        self.closed = False
        self._ca, self._verify = ca, verify
        self._context: ssl.SSLContext | None = None
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[http.client.HTTPConnection] = []
        self._authorization: dict[str, str] = {}

    # Connections

    def _connection(self, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
        if self.closed:
            # Not an OSError: nobody shall try again.
            raise RegistryError(f"the transfer with {self.endpoint.name} was given up", code="registry.closed")
        kept: dict[tuple[str, str, int], http.client.HTTPConnection] = self._local.__dict__.setdefault("kept", {})
        connection = kept.get((scheme, host, port))
        if connection is None:
            if scheme == "https":
                connection = http.client.HTTPSConnection(host, port, timeout=self.timeout, blocksize=BLOCK,
                                                         context=self._tls())
            else:
                connection = http.client.HTTPConnection(host, port, timeout=self.timeout, blocksize=BLOCK)
            kept[(scheme, host, port)] = connection
            with self._lock:
                self._open.append(connection)
        return connection

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                try:
                    context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
                except (OSError, ssl.SSLError) as error:
                    raise HostError(f"cannot read the certificates in {self._ca}: {error}", code="registry.ca",
                                    hint="give a file of PEM certificates") from error
                if not self._verify:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                self._context = context
            return self._context

    def drop(self) -> None:
        """Close this thread's connections: what is left of an answer on them is of no use."""
        for connection in self._local.__dict__.get("kept", {}).values():
            connection.close()

    def close(self) -> None:
        """Close every connection, those of other threads included, for good."""
        self.closed = True
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    # Requests

    def request(self, method: str, path: str, *, scope: str = "", headers: Mapping[str, str] | None = None,
                body: bytes | Body | None = None, length: int | None = None, accept: Iterable[int] = (200,),
                what: str = "", once: bool = False) -> Response:
        """One exchange, authenticated, retried where that is safe; redirects of GET and HEAD are followed.

        :param path: path below the registry, or an absolute URL that it gave us
        :param scope: what a token must allow, such as ``repository:hello:pull``
        :param body: bytes, or a function that gives the body's pieces anew for each attempt; ``length`` in bytes
        :param accept: statuses that are no error
        :param what: what errors say was tried
        :param once: no second attempt: the caller has its own way to go on
        :raises RegistryError: ``registry.unreachable``, ``registry.tls``, ``registry.unauthorized``,
            ``registry.denied``, ``registry.not_found``, ``registry.refused``
        :raises DeadlineError: ``registry.timeout``
        """
        what = what or f"{method} {path}"
        accepted = tuple(accept)
        challenged = False
        attempt = 0
        while True:
            attempt += 1
            last = once or attempt >= _ATTEMPTS
            try:
                response = self._exchange(method, path, scope, dict(headers or {}), body, length)
            except (OSError, http.client.HTTPException) as error:
                if last or isinstance(error, _HOPELESS):
                    raise self._network_error(error, what) from error
                self.sleep(min(0.2 * 2 ** attempt, 5))
                continue
            if response.status == 401 and not challenged:
                challenged = True
                attempt -= 1
                challenge = response.headers.get_all("WWW-Authenticate") or []
                response.text()
                if self._authenticate(challenge, scope, response.authorization):
                    continue
                raise self._unauthorized(what)
            if response.status in accepted:
                return response
            if (response.status == 429 or response.status >= 500) and not last:
                response.text()
                self.sleep(_retry_after(response, attempt))
                continue
            raise self._refusal(response, what)

    def _exchange(self, method: str, path: str, scope: str, headers: dict[str, str], body: bytes | Body | None,
                  length: int | None) -> Response:
        if not self.scheme:
            self._choose_scheme()
        url = urljoin(self.base, path)
        for _hop in range(_REDIRECTS):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise RegistryError(f"{self.endpoint.name} points to {url[:200]!r}", code="registry.redirect")
            if self.scheme == "https" and parts.scheme == "http":
                raise RegistryError(f"{self.endpoint.name} redirects to plain HTTP at {parts.hostname}",
                                    code="registry.redirect", hint="bytes and credentials would travel unprotected")
            port = parts.port or (443 if parts.scheme == "https" else 80)
            mine = (parts.scheme, parts.hostname, port) == (self.scheme, self.endpoint.host, self.endpoint.port)
            sent = {"User-Agent": _USER_AGENT, **headers}
            # Other hosts (storage behind a redirect) must not see who we are.
            if mine and scope in self._authorization:
                sent["Authorization"] = self._authorization[scope]
            response = self._send(parts.scheme, parts.hostname, port, method,
                                  parts.path + (f"?{parts.query}" if parts.query else ""), sent, body, length)
            response.url = f"{parts.scheme}://{parts.netloc}{parts.path}"
            response.authorization = sent.get("Authorization", "")
            target = response.header("Location")
            if response.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD") or not target:
                return response
            response.text()
            url = urljoin(url, target)
        raise RegistryError(f"{self.endpoint.name} redirects in a circle", code="registry.redirect")

    @property
    def base(self) -> str:
        """The registry's URL without a path."""
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        return f"{self.scheme}://{host}:{self.endpoint.port}"

    def _send(self, scheme: str, host: str, port: int, method: str, target: str, headers: dict[str, str],
              body: bytes | Body | None, length: int | None) -> Response:
        connection = self._connection(scheme, host, port)
        fresh = connection.sock is None
        try:
            return self._once(connection, method, target, headers, body, length)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            connection.close()
            # A stream may have arrived in part: who sends one must ask how far it came.
            if fresh or callable(body):
                raise
            # The registry closed a connection that had been idle: that says nothing about this request.
            return self._once(connection, method, target, headers, body, length)
        except BaseException:
            connection.close()
            raise

    def _once(self, connection: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str],
              body: bytes | Body | None, length: int | None) -> Response:
        if callable(body):
            headers = {**headers, "Content-Length": str(length)}
        elif body is not None or method in ("POST", "PUT", "PATCH"):
            headers = {**headers, "Content-Length": str(len(body or b""))}
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in body() if callable(body) else [body] if body else ():
                connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            # A registry may answer (401, 413) and close before it has read everything: look for the answer.
            raw = connection.getresponse()
            if raw.status < 400:
                raise
        else:
            raw = connection.getresponse()
        return Response(raw.status, raw.headers, raw)

    def _choose_scheme(self) -> None:
        """A loopback registry named without scheme: TLS where it is spoken, plain HTTP where it is not."""
        try:
            with socket.create_connection((self.endpoint.host, self.endpoint.port), timeout=self.timeout) as sock:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                try:
                    context.wrap_socket(sock).close()
                    self.scheme = "https"
                except (ssl.SSLError, ConnectionError, TimeoutError):
                    self.scheme = "http"
        except OSError as error:
            raise self._network_error(error, "connecting") from error

    # Authentication

    def _authenticate(self, challenges: list[str], scope: str, refused: str) -> bool:
        """Answer a 401; whether another attempt makes sense. ``refused`` is what the request carried: another
        thread may have logged in meanwhile."""
        for challenge in challenges:
            kind, _blank, rest = challenge.strip().partition(" ")
            parameters = {name.lower(): quoted.replace('\\"', '"') or plain
                          for name, quoted, plain in _PARAMETER.findall(rest)}
            if kind.lower() == "bearer" and parameters.get("realm"):
                self._authorization[scope] = "Bearer " + self._token(parameters, scope)
                return True
            if kind.lower() == "basic" and self.credentials and not self.credentials.identity_token:
                value = self.credentials.basic()
                if refused == value:
                    return False
                self._authorization[scope] = value
                return True
        return False

    def _token(self, parameters: dict[str, str], scope: str) -> str:
        realm = parameters["realm"]
        parts = urlsplit(realm)
        if parts.scheme not in ("https", "http") or not parts.hostname or (
                parts.scheme == "http" and self.scheme == "https"):
            raise RegistryError(f"{self.endpoint.name} names an unsafe token server {realm[:200]!r}",
                                code="registry.redirect")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        fields = {"service": parameters.get("service", ""), "scope": scope or parameters.get("scope", "")}
        fields = {name: value for name, value in fields.items() if value}
        headers = {"User-Agent": _USER_AGENT, "Accept": "application/json"}
        if self.credentials and self.credentials.identity_token:
            form = urlencode({**fields, "grant_type": "refresh_token", "client_id": "uni",
                              "refresh_token": self.credentials.identity_token}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            response = self._send(parts.scheme, parts.hostname, port, "POST", parts.path or "/", headers, form, None)
        else:
            if self.credentials:
                headers["Authorization"] = self.credentials.basic()
            query = "&".join(filter(None, [parts.query, urlencode(fields, quote_via=quote)]))
            response = self._send(parts.scheme, parts.hostname, port, "GET", f"{parts.path or '/'}?{query}", headers,
                                  None, None)
        data = response.text()
        if response.status != 200:
            raise self._unauthorized(f"asking {parts.hostname} for a token")
        try:
            answer = json.loads(data)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{parts.hostname} answered without a token", code="registry.malformed")
        return token

    # Errors

    def _network_error(self, error: Exception, what: str) -> UniError:
        name = self.endpoint.name
        if isinstance(error, ssl.SSLCertVerificationError):
            return RegistryError(f"{name} shows a certificate that is not trusted: {error.verify_message}",
                                 code="registry.tls", hint="give its authority with --ca, or add it to the system's")
        if isinstance(error, ssl.SSLError):
            return RegistryError(f"{name} does not speak TLS ({error.reason or error})", code="registry.tls",
                                 hint=f"if it is meant to be plain HTTP, write http://{name}")
        if isinstance(error, (socket.timeout, TimeoutError)):
            return DeadlineError(f"{name} did not answer within {self.timeout:g} seconds ({what})",
                                 code="registry.timeout")
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return RegistryError(f"cannot reach the registry {name}: {reason} ({what})", code="registry.unreachable",
                             hint="check its address, and that it runs")

    def _unauthorized(self, what: str) -> RegistryError:
        if self.credentials:
            return RegistryError(f"{self.endpoint.name} refuses the user {self.credentials.username!r} ({what})",
                                 code="registry.unauthorized", hint="log in again with `uni login`")
        return RegistryError(f"{self.endpoint.name} wants a login ({what})", code="registry.unauthorized",
                             hint=f"log in with `uni login {self.endpoint.name}`")

    def _refusal(self, response: Response, what: str) -> RegistryError:
        reason = _reason(response.text())
        if response.status == 401:
            return self._unauthorized(what)
        code, hint = {
            403: ("registry.denied", "the user may not do this; ask for access, or log in as another one"),
            404: ("registry.not_found", "check repository and tag"),
            413: ("registry.refused", "the registry limits the size of uploads"),
        }.get(response.status, ("registry.refused", ""))
        return RegistryError(f"{self.endpoint.name} answered {response.status}{reason} ({what})", code=code,
                             hint=hint)


def _retry_after(response: Response, attempt: int) -> float:
    text = response.header("Retry-After")
    return min(float(text), 30.0) if text.isdigit() else min(0.2 * 2 ** attempt, 5.0)


def _reason(data: bytes) -> str:
    """The messages of the specification's error body, cut down to what a terminal may see."""
    try:
        errors: Any = json.loads(data)["errors"]
        text = "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    clean = "".join(char if char.isprintable() else " " for char in text)[:200]
    return f": {clean}" if clean else ""
