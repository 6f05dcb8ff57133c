# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.uni.engine.plugins.module_utils.cli import registry
from ansible_collections.uni.engine.plugins.module_utils.cli.dispatch import load
from ansible_collections.uni.engine.plugins.module_utils.cli.main import main


@pytest.fixture
def uni(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNI_ROOT", str(tmp_path / "root"))

    def run(*argv):
        monkeypatch.setattr("sys.argv", ["uni", *argv])
        try:
            status = main(argv)
        except SystemExit as leave:
            status = leave.code
        out, err = capsys.readouterr()
        return status, out, err
    return run


@pytest.mark.parametrize("name", sorted(registry.COMMANDS))
def test_every_command_explains_itself(uni, name):
    status, out, err = uni(*name.split(), "--help")
    assert (status, err) == (0, "")
    assert f"uni {name}" in out and "--output" in out and "--root" in out


@pytest.mark.parametrize("alias", sorted(registry.ALIASES))
def test_every_alias_leads_somewhere(alias):
    assert registry.ALIASES[alias] in registry.COMMANDS


def test_every_command_has_documentation():
    for name in registry.COMMANDS:
        parser, function = load(name)
        assert function.__doc__, name
        for action in parser._actions:
            assert action.help or action.dest, name


def test_no_command_prints_the_list(uni):
    status, out, err = uni()
    assert status == 2 and not out and "kernel list" in err
    assert uni("--help")[1] == err


def test_misspelt_command(uni):
    status, out, err = uni("kernle", "list")
    assert (status, out) == (2, "")
    assert "no command 'kernle'" in err and "did you mean `kernel`?" in err


def test_misspelt_second_word(uni):
    status, _out, err = uni("kernel", "lsit")
    assert status == 2 and "did you mean `kernel list`?" in err


def test_nothing_that_loses_data_is_suggested_for_another_word(uni):
    status, _out, err = uni("volume", "grow", "v")
    assert status == 2 and "did you mean" not in err and "uni volume --help" in err


def test_misspelt_option(uni):
    status, _out, err = uni("kernel", "list", "--ouptut", "json")
    assert status == 2 and "did you mean `--output`?" in err


def test_options_before_and_after_the_command(uni, tmp_path):
    for words in (("--output", "json", "kernel", "list"), ("kernel", "list", "--output=json")):
        status, out, _err = uni(*words)
        assert status == 0 and json.loads(out) == []
    assert uni("--root", str(tmp_path / "other"), "kernel", "list")[0] == 0
    assert (tmp_path / "other" / "kernels").is_dir()


def test_error_as_json(uni):
    status, out, err = uni("kernel", "use", "9.9.9", "--output", "json")
    assert (status, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["code"] == "kernel.not_found" and "9.9.9" in error["message"] and error["hint"]


def test_bad_input_is_status_2(uni):
    assert uni("kernel", "use", "x")[0] == 2


def test_arguments_behind_two_dashes_only_where_they_mean_something(uni):
    status, _out, err = uni("kernel", "list", "--", "x")
    assert status == 2 and "nothing may follow" in err


def test_yaml(uni):
    assert uni("kernel", "list", "--output", "yaml")[1] == "[]\n"


def test_completion(uni):
    assert "list" in uni("__complete", "kernel", "")[1].split()
    assert uni("__complete", "kern")[1].split() == ["kernel"]
    assert "--output" in uni("__complete", "kernel", "list", "--")[1].split()
    assert uni("__complete", "nonsense", "x")[1] == ""
    for shell in ("bash", "zsh", "fish"):
        assert "__complete" in uni("completion", shell)[1]


@pytest.mark.parametrize(("arguments", "said"), [
    (("./nope",), "./nope does not exist"),
    (("/",), "/ is a directory"),
    (("hello", "-e", "A B"), "a variable name"),
    (("hello", "-e", "A B=c"), "a variable name"),
])
def test_run_refuses(uni, arguments, said):
    status, out, err = uni("run", *arguments)
    assert (status, out) == (2, "") and said in err
