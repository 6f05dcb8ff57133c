# SPDX-License-Identifier: GPL-3.0-or-later
"""Push and pull of 200 MB against skopeo, through the same docker-registry on loopback.

Both sides move the same OCI layout: incompressible layers of 150 and 50 MB. Each push goes to a repository of its
own, into a registry that has nothing yet, and each pull into an empty directory, so that nobody finds a blob
already there. Both sides start a process of their own, as a user would.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import COLLECTIONS, measure, report

sys.path.insert(0, str(COLLECTIONS))
from ansible_collections.uni.engine.tests.unit.engine.registries import docker_registry, tool

LAYERS_MB = (150, 50)
ENGINE = "ansible_collections.uni.engine.plugins.module_utils.engine"
CLIENT = f"""
import sys
from {ENGINE}.registry import api
from {ENGINE}.root import Root
verb, root, name, url = sys.argv[1:]
getattr(api, verb)(Root(__import__("pathlib").Path(root)), name, connection=api.Connection(url=url))
"""


def layout(directory: Path) -> None:
    """An OCI layout with an image of random layers under the name ``big:v1``."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layers = [add(os.urandom(size << 20), "layer.v1.tar+gzip") for size in LAYERS_MB]
    config = add(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {
        "type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}).encode(), "config.v1+json")
    manifest = add(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": config, "layers": layers}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "big:v1"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def uni(verb: str, root: Path, url: str) -> None:
    """Our client, in a process of its own."""
    subprocess.run(["/usr/bin/python3", "-c", CLIENT, verb, root, "big:v1", url], check=True, timeout=300,
                   env={**os.environ, "PYTHONPATH": str(COLLECTIONS)})


def skopeo(*words: str) -> None:
    """skopeo copy without TLS."""
    subprocess.run([tool("skopeo"), "copy", "-q", *words], check=True, timeout=300)


def fresh_registry(work: Path, action: Callable[[str], None], timed: Callable[[Callable[[], None]], float]) -> float:
    """Time ``action`` against a registry that has nothing yet."""
    with docker_registry(work / "empty") as (address, _cert):
        seconds = timed(lambda: action(address))
    shutil.rmtree(work / "empty")
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="uni-bench-") as name:
        work = Path(name)
        layout(work / "root" / "images")
        run(work)


def timed(action: Callable[[], None]) -> float:
    """Seconds that ``action`` takes."""
    import time

    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def run(work: Path) -> None:
    source = f"oci:{work / 'root' / 'images'}:big:v1"
    report("Push of 200 MB", measure({
        "uni push": lambda: fresh_registry(
            work, lambda address: uni("push", work / "root", f"http://{address}"), timed),
        "skopeo copy": lambda: fresh_registry(
            work, lambda address: skopeo("--dest-tls-verify=false", source, f"docker://{address}/big:v1"), timed),
    }, rounds=5), "uni push", "skopeo copy", "aim: at most 1.25, which is 0.8 of its speed")
    with docker_registry(work / "full") as (address, _cert):
        uni("push", work / "root", f"http://{address}")

        def pull_uni() -> float:
            seconds = timed(lambda: uni("pull", work / "in", f"http://{address}"))
            shutil.rmtree(work / "in")
            return seconds

        def pull_skopeo() -> float:
            seconds = timed(lambda: skopeo("--src-tls-verify=false", f"docker://{address}/big:v1",
                                           f"oci:{work / 'in'}:big:v1"))
            shutil.rmtree(work / "in")
            return seconds

        report("Pull of 200 MB", measure({"uni pull": pull_uni, "skopeo copy": pull_skopeo}, rounds=5),
               "uni pull", "skopeo copy", "aim: at most 1.25, which is 0.8 of its speed")


if __name__ == "__main__":
    main()
