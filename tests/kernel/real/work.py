# SPDX-License-Identifier: Apache-2.0
"""Debian's python3 at work: threads, asyncio on loopback, files, sqlite, compression, hashing, mmap, signals."""

from __future__ import annotations

import asyncio
import concurrent.futures
import decimal
import gzip
import hashlib
import json
import mmap
import os
import re
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import zlib


def threads() -> None:
    lock, total = threading.Lock(), [0]

    def add(count: int) -> None:
        for _ in range(count):
            with lock:
                total[0] += 1

    workers = [threading.Thread(target=add, args=(500,)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print("threads", total[0], sum(pool.map(lambda n: n * n, range(300))))


async def network() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(line.upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"question {number}\n".encode())
        line = await reader.readline()
        writer.close()
        return line

    print("asyncio", (await asyncio.gather(*(ask(number) for number in range(30))))[29])
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.02)
    except asyncio.TimeoutError:
        print("timed out")
    server.close()


def files() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for number in range(40):
            with open(f"{directory}/{number:02d}.txt", "w", encoding="utf-8") as file:
                file.write(f"ligne {number} é\n" * number)
        names = sorted(entry.name for entry in os.scandir(directory))
        sums = hashlib.sha256("".join(open(f"{directory}/{name}", encoding="utf-8").read() for name in names).encode())
        print("files", len(names), sums.hexdigest())
        path = f"{directory}/mapped"
        with open(path, "wb") as file:
            file.truncate(10000)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[5000:5005] = b"mmap!"
            mapped.flush()
        with open(path, "rb") as file:
            print("mapped", file.read().index(b"mmap!"))
        with gzip.open(f"{directory}/z.gz", "wb") as packed:
            packed.write(b"zip" * 50000)
        with gzip.open(f"{directory}/z.gz") as packed:
            print("gzip", len(packed.read()), zlib.crc32(b"check"))
    try:
        open("/none/file")
    except FileNotFoundError as error:
        print("error", error.errno, error)


def database() -> None:
    connection = sqlite3.connect("/scratch/python.db")
    connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
    with connection:
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, str(n) * 3) for n in range(3000)))
    print("sqlite", connection.execute("SELECT count(*), sum(a), max(b) FROM t").fetchone())
    connection.close()


def language() -> None:
    decimal.getcontext().prec = 50
    print("decimal", decimal.Decimal(2).sqrt())
    print("big", hashlib.md5(str(3 ** 2000).encode()).hexdigest())
    print("re", re.findall(r"(\w+)@(\w+)", "a@b, cc@dd"))
    print("json", json.dumps({"z": [1, 2.5, None], "a": {"n": True}}, sort_keys=True))
    caught: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    time.sleep(0.1)
    print("signals", caught)
    left, right = socket.socketpair()
    left.sendall(b"pair")
    print("pair", right.recv(10), os.cpu_count() is not None, os.getcwd(), sys.argv[1:], time.gmtime(0).tm_year)


threads()
asyncio.run(network())
files()
database()
language()
sys.exit(4)
