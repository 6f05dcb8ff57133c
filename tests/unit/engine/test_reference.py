# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.reference import Reference, parse_reference

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(("text", "expected"), [
    ("hello", Reference("", "hello", "latest")),
    ("hello:v1", Reference("", "hello", "v1")),
    ("team/hello", Reference("", "team/hello", "latest")),
    ("localhost/hello", Reference("localhost", "hello", "latest")),
    ("127.0.0.1:5000/a/b:v1", Reference("127.0.0.1:5000", "a/b", "v1")),
    ("[::1]:5000/a", Reference("[::1]:5000", "a", "latest")),
    (f"hello@{DIGEST}", Reference("", "hello", "", DIGEST)),
    (f"ghcr.io/a/b:v1@{DIGEST}", Reference("ghcr.io", "a/b", "v1", DIGEST)),
    ("localhost:5000", Reference("", "localhost", "5000")),  # no slash: a repository and its tag
    ("a__b/c--d.e", Reference("", "a__b/c--d.e", "latest")),
])
def test_parse(text, expected):
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize("text", [
    "", "Hello", "hello:", ":v1", "a//b", "/a", "a/", "a b", "../etc", "a/../b", "hello:v1:v2",
    "hello@sha256:00", "hello@" + DIGEST.upper(), "a___b", "-a", "a-", "hello:.v",
    "hello:" + "x" * 129, "x" * 256, "ä", "a\n",
    "ghcr.io:/a", "exa mple.com/a", "localhost:5000/", "hello@", "a/b:c/d"])
def test_refuses(text):
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert caught.value.code in ("reference.invalid", "reference.tag")
