# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.elf import inspect_elf
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.libraries import (
    TreeFiles,
    gather_libraries,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree
from ansible_collections.uni.engine.tests.unit.engine.elves import BASE, elf


@pytest.fixture
def write(tmp_path):
    def make(data, name="program"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path
    return make


def test_static(write):
    info = inspect_elf(write(elf()))
    assert (info.kind, info.machine, info.bits, info.entry) == ("static", "x86_64", 64, BASE + 64)


def test_a_kernel_lives_where_no_program_may(write):
    path = write(elf(base=0xFFFFFFFF80000000))
    assert inspect_elf(path, kernel=True).entry == 0xFFFFFFFF80000040
    with pytest.raises(UsageError) as caught:
        inspect_elf(path)
    assert "user memory" in caught.value.message


def test_static_pie(write):
    assert inspect_elf(write(elf(kind=3, flags=0x08000000))).kind == "static-pie"


def test_dynamic(write):
    info = inspect_elf(write(elf(kind=3, interpreter=b"/lib64/ld.so", needed=(b"libc.so.6", b"libm.so.6"))))
    assert info.kind == "dynamic"
    assert info.interpreter == "/lib64/ld.so"
    assert info.needed == ("libc.so.6", "libm.so.6")


def test_library_only_where_asked_for(write):
    path = write(elf(kind=3, soname=b"libx.so.1", entry=0))
    assert inspect_elf(path, library=True).soname == "libx.so.1"
    with pytest.raises(UsageError) as caught:
        inspect_elf(path)
    assert caught.value.code == "elf.library"


@pytest.mark.parametrize(("data", "code", "words"), [
    (b"", "elf.not_elf", "is empty"),
    (b"#!/bin/sh\n", "elf.not_elf", "is a script"),
    (b"hello, world, this is text", "elf.not_elf", "starts with 68 65 6c 6c"),
    (b"\x7fELF", "elf.truncated", "within its ELF header"),
    (elf()[:40], "elf.truncated", "ELF header ends at byte 64, the file at 40"),
    (elf()[:100], "elf.truncated", "program header table ends at byte 120"),
    (elf(needed=(b"x",), interpreter=b"/ld")[:-8], "elf.truncated", "segment 0 ends at byte"),
    (elf(ident=b"\x7fELF\x01\x01\x01", machine=3), "elf.32_bit", "32-bit i386"),
    (elf(ident=b"\x7fELF\x01\x01\x01", machine=40), "elf.machine", "32-bit ARM"),
    (elf(machine=183), "elf.machine", "aarch64"),
    (elf(machine=9999), "elf.machine", "machine 9999"),
    (elf(ident=b"\x7fELF\x01\x01\x01"), "elf.32_bit", "x32"),
    (elf(kind=1), "elf.type", "an object file"),
    (elf(kind=4), "elf.type", "a core dump"),
    (elf(needed=(b"libc.so.6",)), "elf.damaged", "names no interpreter"),
    (elf(interpreter=b"ld.so"), "elf.damaged", "not an absolute path"),
])
def test_refusals_name_file_and_reason(write, data, code, words):
    path = write(data)
    with pytest.raises(UsageError) as caught:
        inspect_elf(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert words in caught.value.message


def test_no_such_file(tmp_path):
    with pytest.raises(NotFoundError):
        inspect_elf(tmp_path / "none")
    with pytest.raises(UsageError) as caught:
        inspect_elf(tmp_path)
    assert "not a regular file" in caught.value.message


def test_every_truncation_is_refused_or_complete(write):
    """Cut anywhere: an error of ours, never another exception."""
    data = elf(kind=3, interpreter=b"/lib64/ld.so", needed=(b"libc.so.6",), runpath=b"/opt:$ORIGIN/lib")
    for length in range(len(data)):
        with pytest.raises(UsageError):
            inspect_elf(write(data[:length]))
    assert inspect_elf(write(data)).runpath == ("/opt", "$ORIGIN/lib")


def test_every_corrupted_byte_is_survived(write):
    data = elf(kind=3, interpreter=b"/lib64/ld.so", needed=(b"libc.so.6",))
    for index in range(len(data)):
        for value in (0, 0x7F, 0xFF):
            try:
                inspect_elf(write(data[:index] + bytes([value]) + data[index + 1:]))
            except UniError as error:
                assert error.code.startswith("elf.")


def test_part_of_an_archive(write):
    data = elf()
    path = write(b"x" * 512 + data + b"y" * 512)
    assert inspect_elf(path, offset=512, size=len(data)).kind == "static"
    with pytest.raises(UsageError):
        inspect_elf(path, offset=512, size=len(data) - 1)


def tree_of(tmp_path, **files):
    tree = Tree()
    for name, data in files.items():
        source = tmp_path / f"source-{name}"
        source.write_bytes(data)
        tree.add_file("/" + name.replace("__", "/").replace("_so", ".so"), source)
    return tree


def test_closure_in_a_tree(tmp_path, write):
    program = inspect_elf(write(elf(kind=3, interpreter=b"/lib/ld_so".replace(b"_so", b".so"),
                                    needed=(b"liba.so",), runpath=b"/opt")))
    tree = tree_of(tmp_path, lib__ld_so=elf(kind=3), opt__liba_so=elf(kind=3, needed=(b"libb.so",)),
                   usr__lib__libb_so=elf(kind=3, needed=(b"liba.so",)))
    gathered = gather_libraries(program, TreeFiles(tree, " in the tree"))
    assert {path: str(found.shown) for path, found in gathered.files.items()} == {
        "/lib/ld.so": "/lib/ld.so",
        "/lib/x86_64-linux-gnu/liba.so": "/opt/liba.so",
        "/lib/x86_64-linux-gnu/libb.so": "/usr/lib/libb.so"}


def test_missing_library_names_library_and_user(tmp_path, write):
    program = inspect_elf(write(elf(kind=3, interpreter=b"/lib/ld.so", needed=(b"liba.so",))))
    tree = tree_of(tmp_path, lib__ld_so=elf(kind=3), lib__liba_so=elf(kind=3, needed=(b"libgone.so.3",)))
    with pytest.raises(UsageError) as caught:
        gather_libraries(program, TreeFiles(tree, " in the tree"))
    assert caught.value.code == "elf.library_missing"
    assert caught.value.message == "/lib/liba.so needs the library libgone.so.3, which is not found in the tree"


def test_missing_interpreter(write):
    program = inspect_elf(write(elf(kind=3, interpreter=b"/nowhere/ld.so", needed=(b"libc.so",))))
    with pytest.raises(UsageError) as caught:
        gather_libraries(program)
    assert caught.value.code == "elf.interpreter"
    assert "/nowhere/ld.so" in caught.value.message


def test_a_library_of_another_machine_is_passed_over(tmp_path, write):
    program = inspect_elf(write(elf(kind=3, interpreter=b"/lib/ld.so", needed=(b"liba.so",), runpath=b"/opt")))
    tree = tree_of(tmp_path, lib__ld_so=elf(kind=3), opt__liba_so=elf(kind=3, machine=40),
                   lib__liba_so=elf(kind=3))
    gathered = gather_libraries(program, TreeFiles(tree, ""))
    assert gathered.files["/lib/x86_64-linux-gnu/liba.so"].shown == Path("/lib/liba.so")


def test_musl_loader_answers_for_libc(tmp_path, write):
    program = inspect_elf(write(elf(kind=3, interpreter=b"/lib/ld-musl-x86_64.so.1", needed=(b"libc.so",))))
    tree = Tree()
    tree.add_file("/lib/ld-musl-x86_64.so.1", write(elf(kind=3), "musl"))
    assert list(gather_libraries(program, TreeFiles(tree, "")).files) == ["/lib/ld-musl-x86_64.so.1"]


def test_agrees_with_ldd_on_a_program_of_this_host():
    program = shutil.which("ls")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=30).stdout
    expected = {line.split()[0] for line in listed.splitlines() if "=> /" in line}
    gathered = {path.rpartition("/")[2] for path in gather_libraries(inspect_elf(program)).files}
    assert expected <= gathered
