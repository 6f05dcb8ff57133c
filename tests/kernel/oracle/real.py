# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that people run: Go, Rust and sanitized C built here; Debian's sqlite3, python3, perl, redis-server, nginx and the C
compiler proper, with their libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .build import BUILD, BuildError, make_disk, newer, run, skeleton
from .case import HERE, Case
from .elfdeps import gather

REAL = HERE / "real"
NGINX = """daemon off;
master_process off;
error_log /scratch/error.log error;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
    types { text/html html; text/plain txt; }
    default_type application/octet-stream;
    access_log /scratch/access.log;
    gzip on;
    gzip_types text/plain;
    sendfile on;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server { listen 80; root /www; location / { index index.html; } }
}
"""
REDIS = ("--port", "6379", "--bind", "0.0.0.0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", "/scratch",
         "--protected-mode", "no", "--logfile", "/scratch/redis.log", "--daemonize", "no")
#: gcc's sanitizers, and the mistakes of real/sanitized.c that each is asked to find.
SANITIZERS = {"address": ("overflow", "freed", "wild", "deep"), "thread": ("race",), "undefined": ("undefined",)}
#: The leak checker wants a second process. The reports go to a file of their own.
SANITIZER_OPTIONS = {
    "address": ("ASAN_OPTIONS", "detect_leaks=0:exitcode=41:symbolize=0:log_path=/tmp/report"),
    "thread": ("TSAN_OPTIONS", "exitcode=42:symbolize=0:log_path=/tmp/report"),
    "undefined": ("UBSAN_OPTIONS", "halt_on_error=1:symbolize=0:exitcode=43"),
}
#: The address that QEMU's user network expects its guest to have.
ADDRESS = "ip=10.0.2.15::10.0.2.2:255.255.255.0:uni:eth0:off"


def tool(name: str, *places: str) -> str:
    """A compiler's path; BuildError with the package to install where it is missing."""
    found = shutil.which(name) or next((place for place in map(os.path.expanduser, places) if Path(place).exists()), None)
    if found is None:
        raise BuildError(f"{name} is not on this machine; install Debian's package {name} (golang-go for go)")
    return found


def fresh(name: str, *sources: Path) -> tuple[Path, Path, bool]:
    """The tree and disk of a name, and whether the disk is young enough to be kept."""
    tree, disk = BUILD / f"tree-{name}", BUILD / f"{name}.ext2"
    keep = newer(disk, Path(__file__), *sources)
    if not keep:
        skeleton(tree)
    return tree, disk, keep


def go() -> Path:
    """A static Go program, without C."""
    tree, disk, keep = fresh("go", REAL / "go/main.go")
    if keep:
        return disk
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    environment.setdefault("GOCACHE", str(BUILD / "go-cache"))
    run([tool("go"), "build", "-o", str(tree / "bin/work"), "."], cwd=REAL / "go", env=environment)
    return make_disk(tree, disk)


def rust() -> Path:
    """A static Rust program on glibc."""
    tree, disk, keep = fresh("rust", REAL / "rust/main.rs")
    if keep:
        return disk
    compiler = tool("rustc", "~/.cargo/bin/rustc")
    run([compiler, "-O", "--edition", "2021", "-C", "target-feature=+crt-static", "-o", str(tree / "bin/work"), str(REAL / "rust/main.rs")])
    return make_disk(tree, disk)


def sqlite() -> Path:
    """Debian's sqlite3 shell, dynamic, with its libraries."""
    program = Path(tool("sqlite3"))
    tree, disk, keep = fresh("sqlite", program, REAL / "work.sql")
    if keep:
        return disk
    gather(program, tree)
    shutil.copy2(REAL / "work.sql", tree / "work.sql")
    return make_disk(tree, disk)


def python() -> Path:
    """Debian's python3 with its standard library and extension modules."""
    program = Path("/usr/bin/python3").resolve()
    tree, disk, keep = fresh("python", program, REAL / "work.py")
    if keep:
        return disk
    library = Path("/usr/lib") / program.name
    extensions = tuple(sorted((library / "lib-dynload").glob("*.so")))
    shutil.copytree(library, tree / str(library).lstrip("/"), symlinks=True,
                    ignore=shutil.ignore_patterns("test", "idlelib", "tkinter", "ensurepip", "lib2to3", "config-*", "dist-packages"))
    gather(program, tree, extensions)
    (tree / "usr/bin/python3").symlink_to(program.name)
    shutil.copy2(REAL / "work.py", tree / "work.py")
    return make_disk(tree, disk, free=32)


def perl() -> Path:
    """Debian's perl with its library."""
    program = Path(tool("perl"))
    tree, disk, keep = fresh("perl", program, REAL / "work.pl")
    if keep:
        return disk
    ask = [str(program), "-MConfig", "-e", "print join qq(\\n), grep { m(^/usr) && !m(/local/|site|/perl5) && -d } @INC"]
    places = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
    for place in places:
        shutil.copytree(place, tree / place.lstrip("/"), symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("*.pod", "*.h", "*.a", "debian-config-data*"))
    extensions = tuple(sorted(path for place in places for path in Path(place).rglob("*.so")))
    gather(program, tree, extensions)
    shutil.copy2(REAL / "work.pl", tree / "work.pl")
    return make_disk(tree, disk)


def sanitized() -> Path:
    """One program under each of gcc's sanitizers."""
    source = REAL / "sanitized.c"
    tree, disk, keep = fresh("sanitized", source)
    if keep:
        return disk
    for kind in SANITIZERS:
        program = BUILD / "bin" / f"sanitized-{kind}"
        program.parent.mkdir(parents=True, exist_ok=True)
        run([tool("gcc"), "-O1", "-g", "-w", "-pthread", f"-fsanitize={kind}", "-o", str(program), str(source)])
        gather(program, tree)
        shutil.move(tree / str(program).lstrip("/"), tree / "bin" / kind)
    return make_disk(tree, disk)


def compiler() -> Path:
    """The compiler proper of gcc, which needs no second process, and something to compile."""
    found = subprocess.run([tool("gcc"), "-print-prog-name=cc1"], check=True, capture_output=True, text=True).stdout.strip()
    tree, disk, keep = fresh("cc1", Path(found), REAL / "sanitized.c")
    if keep:
        return disk
    gather(Path(found), tree)
    shutil.move(tree / found.lstrip("/"), tree / "bin/cc1")
    done = subprocess.run([tool("gcc"), "-E", "-P", str(REAL / "sanitized.c")], check=True, capture_output=True)
    (tree / "work.i").write_bytes(done.stdout)
    return make_disk(tree, disk)


def redis() -> Path:
    """Debian's redis-server."""
    program = Path(tool("redis-server"))
    tree, disk, keep = fresh("redis", program)
    if keep:
        return disk
    gather(program, tree)
    return make_disk(tree, disk)


def nginx() -> Path:
    """Debian's nginx with a small site, in one process."""
    program = Path(tool("nginx", "/usr/sbin/nginx"))
    tree, disk, keep = fresh("nginx", program)
    if keep:
        return disk
    gather(program, tree)
    (tree / "etc/nginx.conf").write_text(NGINX)
    for directory in ("www/sub", "var/lib/nginx", "var/log/nginx", "usr/share/nginx"):
        (tree / directory).mkdir(parents=True)
    (tree / "www/index.html").write_text("<h1>Served</h1>\n")
    (tree / "www/sub/index.html").write_text("below\n")
    (tree / "www/text.txt").write_text("words upon words\n" * 2000)
    (tree / "www/big.bin").write_bytes(bytes(number * 7 % 256 for number in range(300000)))
    return make_disk(tree, disk)


TREES: dict[str, Callable[[], Path]] = {
    "go": go, "rust": rust, "sqlite": sqlite, "python": python, "perl": perl, "sanitized": sanitized, "cc1": compiler, "redis": redis,
    "nginx": nginx,
}


def sanitizer_cases() -> list[Case]:
    """Each sanitizer without a mistake, and with those that it finds. Its report is full of addresses: the exit status tells."""
    made: list[Case] = []
    for kind, mistakes in SANITIZERS.items():
        variable, options = SANITIZER_OPTIONS[kind]
        for mistake in ("", *mistakes):
            name = f"real/sanitized-{kind}{'-' if mistake else ''}{mistake}"
            argv = (f"/bin/{kind}", *([mistake] if mistake else []))
            made.append(Case(name, "sanitized", argv, env={variable: options}, memory=256, timeout=300))
    return made


def cases() -> list[Case]:
    """The real programs."""
    net = (ADDRESS,)
    return [
        Case("real/go", "go", ("/bin/work", "an argument"), env={"GIVEN": "value"}, memory=128, timeout=300),
        Case("real/go-small", "go", ("/bin/work", "in little memory"), env={"GIVEN": "value", "GOGC": "20"}, memory=64, timeout=300),
        Case("real/rust", "rust", ("/bin/work", "an argument"), timeout=300),
        Case("real/sqlite", "sqlite", ("/usr/bin/sqlite3", "/scratch/test.db", ".read /work.sql"), timeout=300),
        Case("real/sqlite-tmp", "sqlite", ("/usr/bin/sqlite3", "/tmp/test.db", ".read /work.sql"), timeout=300),
        Case("real/python", "python", ("/usr/bin/python3", "-B", "/work.py", "an argument"), memory=192, timeout=400),
        Case("real/perl", "perl", ("/usr/bin/perl", "/work.pl"), timeout=300),
        Case("real/cc1", "cc1", ("/bin/cc1", "-quiet", "-O2", "-fpreprocessed", "/work.i", "-o", "/dev/stdout"), memory=192, timeout=300),
        *sanitizer_cases(),
        Case("real/redis", "redis", ("/usr/bin/redis-server", *REDIS), config=net, timeout=400, port=6379, client="redis_client.py"),
        Case("real/nginx", "nginx", ("/usr/sbin/nginx", "-c", "/etc/nginx.conf"), config=net, timeout=400, port=80,
             client="nginx_client.py", stop="SIGQUIT"),
    ]
