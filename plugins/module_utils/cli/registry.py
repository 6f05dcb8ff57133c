# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command: where it is implemented and what it does, in one line each.

Kept apart from the implementations so that `uni ps` imports those of `ps` and nothing else.
"""

from __future__ import annotations

# Groups as `uni --help` prints them: heading -> command -> (module below cli/commands, help).
# The module has, for a command "kernel list", the functions kernel_list_arguments(parser) and
# kernel_list(args, ui) -> exit status.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "VMs": {
        "run": ("run", "Create a VM from an image and start it"),
        "ps": ("ps", "List VMs"),
        "logs": ("run", "Print a VM's console"),
        "attach": ("run", "Stream a VM's console until it ends"),
        "inspect": ("vm", "Show everything about VMs or images"),
        "start": ("vm", "Start VMs"),
        "stop": ("vm", "Ask programs to end; end those that do not"),
        "restart": ("vm", "Stop and start VMs"),
        "kill": ("vm", "End VMs at once, or send a signal"),
        "exec": ("vm", "Send a signal to the program"),
        "pause": ("vm", "Hold the CPUs of VMs"),
        "unpause": ("vm", "Let the CPUs of VMs go on"),
        "wait": ("run", "Wait until a VM has ended; exit with its status"),
        "rm": ("vm", "Remove VMs"),
        "rename": ("vm", "Give a VM another name"),
        "port": ("vm", "Show which ports lead into a VM"),
        "stats": ("watch", "Show what VMs have used, on the host and inside"),
        "top": ("watch", "Show what VMs use now, live"),
        "status": ("watch", "Show this host: QEMU, kernels, VMs, volumes, daemon, disk"),
        "cp": ("files", "Copy files from a VM, or into one that does not run"),
        "trace": ("vm", "Trace the system calls of a VM, live or on its console"),
        "events": ("watch", "Show what happened to VMs"),
        "suspend": ("monitor", "Write VMs to disk and end them; start goes on from there"),
        "dump": ("monitor", "Write a guest's memory as an ELF core"),
        "debug": ("monitor", "Offer a debugger stub and say how to connect"),
    },
    "Images": {
        "build": ("image", "Build an image from a program, a directory, packages or a container image"),
        "images": ("image", "List the images of this host"),
        "rmi": ("image", "Remove images"),
        "tag": ("image", "Give an image a further name"),
        "push": ("remote", "Send an image to a registry"),
        "pull": ("remote", "Bring an image from a registry"),
        "login": ("remote", "Log in to a registry"),
        "logout": ("remote", "Forget the login to a registry"),
        "save": ("files", "Write images to an OCI archive"),
        "load": ("files", "Bring images from an OCI archive"),
        "pkg search": ("remote", "Search the packages that images can be built from"),
        "pkg list": ("remote", "List the packages that have been fetched"),
        "pkg get": ("remote", "Fetch packages with what they depend on"),
        "pkg remove": ("remote", "Remove fetched packages"),
        "image inspect": ("image", "Show everything about images"),
        "image history": ("image", "Show the layers of an image"),
        "image prune": ("image", "Remove images that nothing uses"),
    },
    "Stacks": {
        "compose up": ("compose", "Bring a stack up"),
        "compose down": ("compose", "Stop and remove a stack's VMs"),
        "compose plan": ("compose", "Say what `up` would do"),
        "compose ps": ("compose", "List a stack's VMs"),
        "compose logs": ("compose", "Print the consoles of a stack's VMs"),
        "compose config": ("compose", "Print a stack as it was understood"),
        "compose scale": ("compose", "Change the number of instances of services"),
        "compose restart": ("compose", "Restart a stack's VMs"),
        "compose ls": ("compose", "List the stacks of this host"),
    },
    "Volumes": {
        "volume create": ("volume", "Create a volume, or grow it"),
        "volume ls": ("volume", "List the volumes of this host"),
        "volume inspect": ("volume", "Show everything about volumes"),
        "volume rm": ("volume", "Remove volumes with their data"),
        "volume export": ("volume", "Write the files of a volume to a tar archive"),
        "volume import": ("volume", "Fill a volume from a tar archive"),
        "network create": ("network", "Create a network, or change it"),
        "network ls": ("network", "List the networks of this host"),
        "network inspect": ("network", "Show everything about networks"),
        "network rm": ("network", "Remove networks"),
    },
    "Kernels": {
        "kernel list": ("kernel", "List the kernel releases of this host"),
        "kernel add": ("kernel", "Keep the release of a build directory on this host"),
        "kernel check": ("kernel", "Say whether a source has a newer release"),
        "kernel update": ("kernel", "Pull a release, verify it, boot it once, make it the default"),
        "kernel pull": ("kernel", "Pull a release and verify it"),
        "kernel rollback": ("kernel", "Go back to the default before"),
        "kernel publish": ("kernel", "Make a build a release that hosts can pull"),
        "kernel keygen": ("kernel", "Make a key pair to sign releases with"),
        "kernel trust": ("kernel", "Accept releases that are signed with a key"),
        "kernel use": ("kernel", "Choose the release that VMs boot by default"),
        "kernel verify": ("kernel", "Compare the releases on this host with their checksums"),
        "kernel rm": ("kernel", "Remove a release from this host"),
    },
    "Daemon": {
        "daemon run": ("daemon", "Serve Uni on a UNIX socket, and an OCI registry if asked to"),
        "daemon status": ("daemon", "Show how the daemon is"),
        "daemon check": ("daemon", "Say whether the daemon could be run with these words"),
        "daemon renew": ("daemon", "Have the daemon go on as the uni that is installed now"),
    },
    "Upgrade": {
        "upgrade": ("upgrade", "Upgrade uni itself from a release"),
        "upgrade check": ("upgrade", "Say whether a source has a newer uni"),
        "upgrade list": ("upgrade", "List the installed versions of uni"),
        "upgrade rollback": ("upgrade", "Go back to the version before"),
        "upgrade publish": ("upgrade", "Make this uni a release that hosts can upgrade to"),
    },
    "Help": {
        "doctor": ("doctor", "Say what this host can do for Uni, and what it lacks"),
        "completion": ("completion", "Print the completion script for bash, zsh or fish"),
        "version": ("version", "Show the versions of uni, its kernel and QEMU"),
    },
}

ALIASES: dict[str, str] = {
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image build": "build",
    "image tag": "tag",
    "image push": "push",
    "image pull": "pull",
    "image save": "save",
    "image load": "load",
    "volume list": "volume ls",
    "network list": "network ls",
    "network remove": "network rm",
    "volume remove": "volume rm",
    "compose list": "compose ls",
    "kernel ls": "kernel list",
    "pkg ls": "pkg list",
    "pkg rm": "pkg remove",
    "kernel remove": "kernel rm",
}

COMMANDS: dict[str, tuple[str, str]] = {
    name: entry for commands in GROUPS.values() for name, entry in commands.items()
}
PREFIXES = frozenset(name.split()[0] for name in COMMANDS if " " in name)


def suggest(word: str, known: list[str]) -> str:
    """'did you mean ...?' for the nearest known word, or an empty string."""
    import difflib

    # Of "volume grow" only the part behind what all have in common may be misspelt.
    shared = f"{word.split()[0]} " if " " in word else ""
    near = difflib.get_close_matches(word[len(shared):], [name[len(shared):] for name in known], n=1, cutoff=0.5)
    return f"did you mean `{shared}{near[0]}`?" if near else ""
