# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast way to read options says the same as argparse, or leaves it to argparse."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.cli import options
from ansible_collections.uni.engine.plugins.module_utils.cli.commands import ps, run
from ansible_collections.uni.engine.plugins.module_utils.cli.dispatch import load
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

WORDS = ("-a", "--all", "-q", "-aq", "--filter", "--filter=name=web", "name=web", "--format", "--format={id}", "--format=",
         "--output", "--output=json", "json", "--root=/r", "-x", "--", "--help", "web", "--no-trunc", "--al", "-", "")


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_it_agrees_with_argparse(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    table = [*ps.OPTIONS, *options.COMMON]
    understood = 0
    for words in itertools.product(WORDS, repeat=count):
        fast = options.parse(table, words)
        if fast is None:
            continue
        understood += 1
        slow = vars(load("ps")[0].parse_args(list(words)))
        assert {name: slow[name] for name in vars(fast)} == vars(fast), words
    assert understood >= 10 ** count // (2 if count else 1) // 2


@pytest.mark.parametrize("words", [["--filter"], ["--output", "xml"], ["web"], ["--all=1"], ["--", "x"]])
def test_mistakes_are_argparses(words: list[str]) -> None:
    assert options.parse([*ps.OPTIONS, *options.COMMON], words) is None
    with pytest.raises((UsageError, SystemExit)):
        load("ps")[0].parse_args(words)


def test_what_is_said_about_a_health_check() -> None:
    words = ["image", "--health-check", "http:80:/up", "--health-interval", "500ms", "--health-start-period", "1m",
             "--health-status", "200-299,404", "--health-on-failure", "restart", "--health-retries", "2"]
    check = VmSpec.parse("web", {"health_check": run._health(load("run")[0].parse_args(words))}).values["health_check"]
    assert check == VmSpec.parse("web", {"health_check": {
        "kind": "http", "port": 80, "path": "/up", "interval": 0.5, "start_period": 60, "statuses": [[200, 299], 404],
        "on_failure": "restart", "retries": 2}}).values["health_check"]
    with pytest.raises(UsageError, match="--health-start-period needs --health-check"):
        run._health(load("run")[0].parse_args(["image", "--health-start-period", "1m"]))


def test_ps_imports_little(tmp_path: Path) -> None:
    tree = Path(__file__).resolve().parents[3] / ".build" / "collections"
    code = f"""
import sys
sys.path[:0] = [{str(tree)!r}]
from ansible_collections.uni.engine.plugins.module_utils.cli.main import main
main(["ps", "-a", "--root", {str(tmp_path)!r}])
print(sorted(sys.modules), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("ID ")
    for costly in ("argparse", "re", "typing", "dataclasses", "pathlib", "json", "enum"):
        assert f"'{costly}'" not in result.stderr, costly
