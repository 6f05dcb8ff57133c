# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a web server for pages, print what matters of the answers. Arguments: address, port."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import sys
import time

ADDRESS, PORT = sys.argv[1], int(sys.argv[2])


def ask(path: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None) -> str:
    connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=60)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return f"{answer.status} {answer.getheader('Content-Type')} {len(data)} {hashlib.sha256(data).hexdigest()[:16]}"


def ready() -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            ask("/")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


ready()
for path in ("/", "/big.bin", "/sub/", "/none", "/sub"):
    print(path, ask(path))
print("range", ask("/big.bin", {"Range": "bytes=1000-4999"}))
print("gzip", ask("/text.txt", {"Accept-Encoding": "gzip"}).split()[0])
print("head", ask("/big.bin", method="HEAD"))
print("post", ask("/", method="POST", body=b"x" * 100000).split()[0])
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    answers = list(pool.map(lambda number: ask("/text.txt" if number % 2 else "/big.bin"), range(200)))
print("parallel", len(answers), sorted(set(answers)))
kept = http.client.HTTPConnection(ADDRESS, PORT, timeout=60)
count = 0
for _ in range(100):
    kept.request("GET", "/")
    answer = kept.getresponse()
    answer.read()
    count += answer.status == 200
print("kept alive", count)
