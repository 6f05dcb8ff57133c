# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments from files, as Docker's ``--env-file`` reads them: ``NAME=VALUE`` lines, taken as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_env


def read_files(paths: Iterable[str | Path]) -> list[str]:
    """The lines of the files, without empty ones and comments, the last file's last.

    :raises HostError: a file cannot be read
    :raises UsageError: code ``vm.env_file``: it is not text
    """
    words: list[str] = []
    for path in map(Path, paths):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise host_error(error, path, "read") from error
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not a text file", code="vm.env_file",
                             hint="give a file with lines NAME=VALUE") from None
        words += [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return words


def passed_on(words: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Words ``NAME=VALUE`` as an environment; a name alone passes the value in ``environ`` on, or nothing.

    :raises UsageError: a name that cannot be one, whether it is set or not
    """
    listed = list(words)
    parse_env(word if "=" in word else f"{word}=" for word in listed)
    return dict(parse_env(word if "=" in word else f"{word}={environ[word]}" for word in listed
                          if "=" in word or word in environ))
