# SPDX-License-Identifier: GPL-3.0-or-later
"""uni completion: the scripts, and the hidden `uni __complete` that they call for the words."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, put
from ansible_collections.uni.engine.plugins.module_utils.cli.registry import ALIASES, COMMANDS, PREFIXES

_SCRIPTS = {
    "bash": """\
_uni() {
    local IFS=$'\\n'
    COMPREPLY=($(uni __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _uni uni
""",
    "zsh": """\
#compdef uni
_uni() {
    local -a words_found
    words_found=("${(@f)$(uni __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a words_found || _files
}
compdef _uni uni
""",
    "fish": """\
complete -c uni -f -a '(uni __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}


def completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(_SCRIPTS))


def completion(args: argparse.Namespace, ui: Ui) -> int:
    """Print the script; `source <(uni completion bash)` turns it on."""
    sys.stdout.write(_SCRIPTS[args.shell])
    return 0


def complete(words: list[str]) -> int:
    """Print the words that may stand where the last of `words` is being typed."""
    *before, last = words or [""]
    for word in _candidates(before, last):
        if word.startswith(last):
            put(word)
    return 0


def _candidates(before: list[str], last: str) -> list[str]:
    from ansible_collections.uni.engine.plugins.module_utils.cli.dispatch import load

    plain = [word for word in before if not word.startswith("-")]
    for count in (2, 1):
        name = " ".join(plain[:count])
        name = ALIASES.get(name, name)
        if name in COMMANDS and len(plain) >= count:
            parser, _function = load(name)
            if last.startswith("-"):
                return sorted(option for action in parser._actions for option in action.option_strings)
            return _objects(name)
    if len(plain) == 1 and plain[0] in PREFIXES:
        return [name.split()[1] for name in COMMANDS if name.startswith(f"{plain[0]} ")]
    return sorted({name.split()[0] for name in COMMANDS}) if not plain else []


def _objects(name: str) -> list[str]:
    """Names of what the command works on: kernels, images or VMs of the default root."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

    root = Root.resolve()
    if name in ("kernel use", "kernel rm", "kernel verify"):
        return [path.name for path in Path(root.kernels).iterdir() if path.is_dir()]
    if COMMANDS[name][0] in ("vm", "run") and name != "run":
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms

        return [vm["name"] for vm in vms.list_vms(root, everything=True)]
    if name in ("run", "rmi", "tag", "image inspect", "image history", "push", "save"):
        from ansible_collections.uni.engine.plugins.module_utils.engine.images import api

        return [reference for image in api.list_images(root) for reference in image.references]
    return []
