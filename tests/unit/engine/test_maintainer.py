# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintainer scripts that are read, not run: dash and update-alternatives say what they would have done."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.images import literalshell, maintainer
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Content, Entry, Tree
from ansible_collections.uni.engine.tests.unit.engine.registries import tool

SCRIPTS = {
    "quotes": r"""say 'one  two' "three  four" five\ six "a\"b" 'it'"'"'s' x"y"z "" "tab	in" '$no' "\$no" """,
    "continued": "say a \\\n   b \\\n\tc\nsay d; say e && say f || true\n",
    "comments": "# nothing\nsay a # b\nsay a#b '#c' \"#d\"\n#say x",
    "variables": """base=/usr/lib/x
tools='java keytool'
say $base/bin "${base}/lib" "$tools" $tools ${base}${base}
two=$base/y three="$two z" ; export four=1 ; say $two "$three" $four
""",
    "loops": """for i in a b c; do say $i; for j in 1 2
do say $i$j "$i $j"; done; done
names="x y"
for n in $names "$names" z; do say "$n"; done
say after
""",
    "branches": "if true; then say a; fi; { say b; }; ! say c; if say d; then say e; elif true; then :; else :; fi",
    "documents": "cat <<EOF >/dev/null\nsay not\nEOF\nsay a\ncat <<-'END' > /dev/null\n\tsay not\n\tEND\nsay b 2>/dev/null <&-\n",
    "case": 'set configure\ncase "$1" in\n  configure|install) say a;;\nesac\ncase $1 in configure) say b ;; esac\nsay c\n',
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_plain_scripts_are_read_as_dash_runs_them(name):
    stub = 'say() { printf "%s\\0" say "$@"; printf "\\0\\0"; }\n'
    done = subprocess.run(["/bin/dash"], input=(stub + SCRIPTS[name]).encode(), capture_output=True, check=True, timeout=20)
    ran = [call.decode().split("\0") for call in done.stdout.split(b"\0\0\0")[:-1]]
    read = [words for words in literalshell.commands(SCRIPTS[name]) if words[0] == "say"]
    assert read == ran
    assert ran


@pytest.mark.parametrize("script", [
    "say $(id)", "say `id`", "say $1", 'say "$unknown"', "say ${x:-y}", "x=$(id); say $x", "f() { say $1; }",
    'case "$(uname)" in Linux) say a;; *) say b;; esac', 'case $x in a) case $y in b) say c;; esac;; esac', "cat <<X\nsay a\nX",
])
def test_what_only_running_could_tell_is_left_out(script):
    assert [words for words in literalshell.commands(script + "\nsay end") if words[0] == "say"] == [["say", "end"]]


@pytest.mark.parametrize("script", [
    "'", '"', "$(", "${", "`", "\\", "<<", "<<X", "for", "for x in", "done done done", "case", "case x", "esac", "((((", ";;;;", "$",
    "for i in a; do " * 500, "(" * 5000, "x=" + "a" * 100_000, "\0\0", "for i in 1 2 3 4 5 6 7 8 9; do " * 15 + "say x" + ";done" * 15,
], ids=lambda script: repr(script[:20]))
def test_damaged_and_hostile_scripts_end(script):
    assert len(list(literalshell.commands(script))) <= 20_001


def root(**files):
    tree = Tree()
    for path in files.get("paths", ()):
        tree.add(path, Entry("file", 0o755, content=Content.of_bytes(b"x")))
    for path, text in files.get("texts", {}).items():
        tree.add(path, Entry("file", 0o644, content=Content.of_bytes(text.encode())))
    return tree


def text(tree, path):
    return tree.entries[path].content.read().decode()


def test_alternatives_as_update_alternatives_makes_them(tmp_path):
    calls = [
        ["--install", "/usr/bin/awk", "awk", "/usr/bin/mawk", "5", "--slave", "/usr/bin/nawk", "nawk", "/usr/bin/mawk"],
        ["--install", "/usr/bin/awk", "awk", "/usr/bin/gawk", "10", "--slave", "/usr/share/gone.1", "gone.1", "/usr/share/nothing.1",
         "--slave", "/usr/bin/nawk", "nawk", "/usr/bin/gawk"],
        ["--install", "/usr/lib/libblas.so.3", "libblas.so.3", "/usr/lib/blas/libblas.so.3", "10"],
        ["--install", "/usr/bin/editor", "editor", "/usr/bin/ed", "-100"],
        ["--install", "/usr/bin/same", "same", "/usr/bin/mawk", "7"],
        ["--install", "/usr/bin/same", "same", "/usr/bin/gawk", "7"],
    ]
    paths = ["/usr/bin/mawk", "/usr/bin/gawk", "/usr/lib/blas/libblas.so.3", "/usr/bin/ed"]
    for path in paths:
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_bytes(b"x")
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/alternatives").mkdir(parents=True)
    (tmp_path / "var/log").mkdir(parents=True)
    for call in calls:
        subprocess.run([tool("update-alternatives"), "--root", str(tmp_path), "--log", str(tmp_path / "log"), *call], check=True,
                       capture_output=True, timeout=20)
    expected = {f"/{path.relative_to(tmp_path)}": str(path.readlink()) for path in tmp_path.rglob("*") if path.is_symlink()}
    tree = root(paths=paths)
    maintainer.apply(tree, ["\n".join(" ".join(["update-alternatives", *call]) for call in calls)])
    assert {path: entry.target for path, entry in tree.sorted() if entry.kind == "link"} == expected
    assert expected["/etc/alternatives/awk"] == "/usr/bin/gawk"


def test_what_is_there_is_never_replaced_and_what_is_not_there_is_not_linked():
    tree = root(paths=["/usr/bin/awk", "/usr/bin/gawk", "/etc/b.conf", "/usr/share/b.conf"])
    before = dict(tree.entries)
    maintainer.apply(tree, ["""
update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10
update-alternatives --install /usr/bin/vi vi /usr/bin/vim 10
update-alternatives --install /usr/bin/x ../../x /usr/bin/gawk 10
update-alternatives --install /usr/bin/awk/inside inside /usr/bin/gawk 10
update-alternatives --install /usr/bin/y y /usr/bin/gawk high
update-alternatives --install /usr/bin/z
ln -s /nowhere /usr/bin/dangling
ln -sf /usr/bin/gawk /usr/bin/awk
ln /usr/bin/gawk /usr/bin/hard
ucf /usr/share/b.conf /etc/b.conf
ucf --purge /etc/b.conf
"""])
    assert set(tree.entries) - set(before) == set()
    assert all(tree.entries[path] == entry for path, entry in before.items())


def test_links_and_configuration():
    tree = root(paths=["/etc/nginx/sites-available/default", "/usr/lib/php/php.ini", "/usr/share/fonts/a.conf"])
    tree.add("/etc/nginx/sites-enabled", Entry("dir", 0o755))
    maintainer.apply(tree, ["""#!/bin/sh
set -e
case "$1" in
configure)
  if [ -z "$2" ] && [ ! -e /etc/nginx/sites-enabled/default ]; then
    ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default
  fi
  ucf --debconf-ok --three-way /usr/lib/php/php.ini /etc/php/php.ini
  ln -sf ../../usr/share/fonts/a.conf /etc/fonts/
  if [ ! -d /var/www/html ]; then mkdir -p -m 2775 /var/www/html /var/log/x; fi
  install -d -m 0700 -o root /var/lib/x
  cp -a /usr/lib/php/php.ini /var/www/html
  cp -r /usr/lib/php /usr/lib/php2
  cp /usr/lib/php/php.ini $RANDOM
  ;;
esac
""", "ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled"])
    assert tree.resolve("/etc/nginx/sites-enabled/default") == "/etc/nginx/sites-available/default"
    assert text(tree, "/etc/php/php.ini") == text(tree, "/var/www/html/php.ini") == "x"
    assert [oct(tree.entries[path].mode) for path in ("/var/www/html", "/var/log/x", "/var/lib/x")] == [
        "0o2775", "0o2775", "0o700"]
    assert "/usr/lib/php2" not in tree


def test_users_and_groups():
    tree = root(texts={
        "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nold:x:100:100::/:/bin/sh\n",
        "/etc/group": "root:x:0:\nnogroup:x:65534:\nold:x:100:\n",
        "/usr/lib/sysusers.d/named.conf": "# a comment\nu named - \"BIND server\" /var/cache/bind\ng spool 150 -\nu bad:name -\nm named spool\n",
        "/usr/lib/tmpfiles.d/x.conf": "d /run/named 0775 root named - -\nd /var/run/redis 2755 redis redis\nd /run/%u\nf /run/x\nd 'half"})
    maintainer.apply(tree, ["""
adduser --system --home /var/lib/redis --quiet --group redis || true
adduser --system --quiet --no-create-home --gecos "Memory cache" --ingroup spool --shell /bin/false memcache
addgroup --system haproxy
useradd -r -g haproxy -d /var/lib/haproxy -s /usr/sbin/nologin haproxy
adduser --system plain
adduser --system www-data
adduser human
adduser --system 'a:b'
adduser --system --uid 110 fixed
"""])
    assert text(tree, "/etc/passwd").splitlines()[3:] == [
        "named:x:101:101::/var/cache/bind:/usr/sbin/nologin", "redis:x:102:102::/var/lib/redis:/usr/sbin/nologin",
        "memcache:x:103:150::/nonexistent:/bin/false", "haproxy:x:104:103::/var/lib/haproxy:/usr/sbin/nologin",
        "plain:x:105:65534::/nonexistent:/usr/sbin/nologin", "fixed:x:110:65534::/nonexistent:/usr/sbin/nologin"]
    assert {path: (oct(entry.mode), entry.uid, entry.gid) for path, entry in tree.sorted() if path.startswith("/run/")} == {
        "/run/named": ("0o775", 0, 101), "/run/redis": ("0o2755", 102, 102)}
    assert text(tree, "/etc/group").splitlines()[3:] == ["named:x:101:", "spool:x:150:", "redis:x:102:", "haproxy:x:103:"]
