# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command: where it is implemented and what it does, in one line each.

Kept apart from the implementations so that `uni ps` imports those of `ps` and nothing else.
"""

from __future__ import annotations

# Groups as `uni --help` prints them: heading -> command -> (module below cli/commands, help).
# The module has, for a command "kernel list", the functions kernel_list_arguments(parser) and
# kernel_list(args, ui) -> exit status.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Kernels": {
        "kernel list": ("kernel", "List the kernel releases of this host"),
        "kernel add": ("kernel", "Keep the release of a build directory on this host"),
        "kernel use": ("kernel", "Choose the release that VMs boot by default"),
        "kernel check": ("kernel", "Verify the files of the releases on this host"),
        "kernel rm": ("kernel", "Remove a release from this host"),
    },
    "Help": {
        "completion": ("completion", "Print the completion script for bash, zsh or fish"),
        "version": ("version", "Show the versions of uni, its kernel and QEMU"),
    },
}

ALIASES: dict[str, str] = {
    "kernel ls": "kernel list",
    "kernel remove": "kernel rm",
}

COMMANDS: dict[str, tuple[str, str]] = {
    name: entry for commands in GROUPS.values() for name, entry in commands.items()
}
PREFIXES = frozenset(name.split()[0] for name in COMMANDS if " " in name)


def suggest(word: str, known: list[str]) -> str:
    """'did you mean ...?' for the nearest known word, or an empty string."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else ""
