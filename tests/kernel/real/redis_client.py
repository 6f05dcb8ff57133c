# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to a redis server (RESP2), print the answers, shut it down. Arguments: address, port."""

from __future__ import annotations

import socket
import sys
import time


class Client:
    """One connection; ``ask`` sends a command and gives the reply as text."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.create_connection((address, port), timeout=60)
        self.file = self.socket.makefile("rb")

    def send(self, *words: object) -> None:
        parts = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))

    def reply(self) -> object:
        line = self.file.readline()
        if not line:
            raise EOFError
        kind, text = line[:1], line[1:-2]
        if kind == b"$":
            return None if text == b"-1" else self.file.read(int(text) + 2)[:-2].decode()
        if kind == b"*":
            return [self.reply() for _ in range(int(text))]
        return text.decode()

    def ask(self, *words: object) -> object:
        self.send(*words)
        return self.reply()


def connect(address: str, port: int) -> Client:
    """Try until the server answers PONG, at most 120 seconds."""
    deadline = time.monotonic() + 120
    while True:
        try:
            client = Client(address, port)
            if client.ask("PING") == "PONG":
                return client
        except (OSError, EOFError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    client = connect(address, port)
    for command in ("SET key value", "GET key", "APPEND key -more", "STRLEN key", "INCRBY counter 5", "LPUSH list a b c",
                    "LRANGE list 0 -1", "HSET hash f1 v1 f2 v2", "HGETALL hash", "ZADD zset 3 c 1 a 2 b", "ZRANGE zset 0 -1",
                    "EXPIRE key 100", "TTL key", "TYPE zset", "GET none", "LPUSH key x", "NOSUCH", "CONFIG GET appendonly",
                    "EVAL return{redis.call('GET','key'),1+1} 0", "DBSIZE"):
        print(command, "->", client.ask(*command.split()))
    for number in range(2000):
        client.send("SET", f"n{number}", "x" * (number % 100))
    print("pipelined", sum(client.reply() == "OK" for _ in range(2000)))
    client.send("SET", "big", "B" * 1000000)
    print("big", client.reply(), len(str(client.ask("GET", "big"))))
    many = [connect(address, port) for _ in range(30)]
    for number, other in enumerate(many):
        other.send("INCRBY", "counter", number)
    print("clients", max(int(str(other.reply())) for other in many))
    watcher = many[0]
    print(watcher.ask("SUBSCRIBE", "channel"), client.ask("PUBLISH", "channel", "news"), watcher.reply())
    print("keys", client.ask("DBSIZE"))
    try:
        print(client.ask("SHUTDOWN", "NOSAVE"))
    except (EOFError, OSError):
        print("shut down")


main()
