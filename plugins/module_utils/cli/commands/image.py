# SPDX-License-Identifier: GPL-3.0-or-later
"""uni build, images, rmi, tag, image: the images of this host."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, age
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size, parse_env, parse_size


def build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="?", type=Path, help="an ELF executable, or a directory with a root file system"
    )
    parser.add_argument("--name", help="the image's name (default: that of the source)")
    parser.add_argument("--tag", help="the image's tag (default: latest)")
    parser.add_argument("--rootfs", type=Path, metavar="DIR", help="a directory with the root file system")
    parser.add_argument(
        "--pkg", action="append", default=[], metavar="NAME[=VERSION]", help="a Debian package (repeats)"
    )
    parser.add_argument(
        "--from", dest="base", metavar="IMAGE", help="a container image: a reference, an OCI archive or layout"
    )
    parser.add_argument(
        "--path", default="", metavar="PATH", help="where the program goes (default: /bin/ and its name)"
    )
    parser.add_argument(
        "--entrypoint", metavar="WORDS", help="the program and its first arguments, as the shell splits them"
    )
    parser.add_argument("--cmd", metavar="WORDS", help="the default arguments, as the shell splits them")
    parser.add_argument("-e", "--env", action="append", metavar="NAME=VALUE", help="an environment variable (repeats)")
    parser.add_argument("--workdir", metavar="DIR", help="the working directory")
    parser.add_argument("--user", metavar="UID[:GID]", help="who the program runs as")
    parser.add_argument("--expose", action="append", metavar="PORT", help="a port that it listens on (repeats)")
    parser.add_argument(
        "--volume", action="append", metavar="DIR", help="a directory that is meant for a volume (repeats)"
    )
    parser.add_argument("--stop-signal", metavar="SIGNAL", help="the signal that asks it to end (default: SIGTERM)")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="a label (repeats)")
    parser.add_argument("--memory", metavar="SIZE", help="the memory of its VMs, such as 64M")
    parser.add_argument("--cpus", type=int, metavar="N", help="the CPUs of its VMs")
    parser.add_argument("--size", metavar="SIZE", help="the size of the root disk")
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="the kernel it carries (default: the host's)")
    parser.add_argument("-U", "--update-kernel", action="store_true", help="renew the kernel of an unchanged image")


def build(args: argparse.Namespace, ui: Ui) -> int:
    """Build an image; print its name."""
    result = api.ensure_present(ui.root, spec_of(args))
    for warning in result.warnings:
        ui.note(f"warning: {warning}")
    image = result.image
    if image is None:  # it was just built, or found
        raise AssertionError
    from ansible_collections.uni.engine.plugins.module_utils.engine.reference import parse_reference

    ui.line({**image.to_dict(), "changed": result.changed}, str(parse_reference(_full_name(args))))
    return 0


def spec_of(args: argparse.Namespace) -> api.BuildSpec:
    """The image that the arguments of `uni build` describe."""
    import shlex

    source = args.source.absolute() if args.source else None
    if source is not None and not source.exists():
        raise UsageError(
            f"there is no {args.source}", code="build.source", hint="give an ELF executable or a directory"
        )
    directory = source if source is not None and source.is_dir() else None
    rootfs = args.rootfs.absolute() if args.rootfs else None
    if directory is not None and rootfs is not None:
        raise UsageError(
            "a directory and --rootfs are two root file systems", code="build.source", hint="give one of them"
        )

    def words(text: str | None) -> tuple[str, ...] | None:
        return None if text is None else tuple(shlex.split(text))

    def size(name: str) -> int | None:
        text = getattr(args, name)
        return None if text is None else parse_size(text, what=name)

    return api.BuildSpec(
        name=_full_name(args),
        program=None if directory else source,
        rootfs=directory or rootfs,
        packages=tuple(args.pkg),
        image=args.base,
        program_path=args.path,
        entrypoint=words(args.entrypoint),
        cmd=words(args.cmd),
        env=None if args.env is None else parse_env(args.env),
        workdir=args.workdir,
        user=args.user,
        exposed_ports=None if args.expose is None else tuple(args.expose),
        volumes=None if args.volume is None else tuple(args.volume),
        stop_signal=args.stop_signal,
        labels=None if args.label is None else parse_env(args.label, what="label"),
        memory=size("memory"),
        cpus=args.cpus,
        size=size("size"),
        kernel=args.kernel,
        update_kernel=args.update_kernel,
    )


def _full_name(args: argparse.Namespace) -> str:
    name = args.name or _derived(args)
    if args.tag is None:
        return str(name)
    if ":" in name.rpartition("/")[2]:
        raise UsageError(f"{name!r} has a tag, and --tag gives another", code="build.name", hint="give one of them")
    return f"{name}:{args.tag}"


def _derived(args: argparse.Namespace) -> str:
    """A legal image name from the source's: the file without its suffix."""
    base = (args.base or "").rstrip("/").rpartition("/")[2].partition("@")[0].partition(":")[0]
    first = args.pkg[0].partition("=")[0] if args.pkg else base
    text = args.source.absolute().stem if args.source else first
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name:
        raise UsageError("this image needs a name", code="build.name", hint="give one with --name")
    return str(name)


def images_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="only images of this name")


def images(args: argparse.Namespace, ui: Ui) -> int:
    """Print the images, the newest first."""
    found = [
        image for image in api.list_images(ui.root) if args.name is None or args.name in (image.name, *image.references)
    ]
    now = time.time()
    rows = [
        (name, tag, image.id[7:19], f"{age(now - image.created)} ago", format_size(image.size))
        for image in found
        for name, tag in _names(image)
    ]
    ui.table([image.to_dict() for image in found], ("NAME", "TAG", "ID", "CREATED", "SIZE"), rows)
    return 0


def _names(image: api.ImageInfo) -> list[tuple[str, str]]:
    pairs = [(reference.rpartition(":")[0], reference.rpartition(":")[2]) for reference in image.references]
    return pairs or [("-", "-")]


def rmi_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="+", help="a name with an optional tag, an id or a digest")
    parser.add_argument("-f", "--force", action="store_true", help="also when VMs use it")


def rmi(args: argparse.Namespace, ui: Ui) -> int:
    """Remove tags, and images with their last one."""
    def remove(name: str) -> None:
        api.inspect(ui.root, name)
        api.ensure_absent(ui.root, name, force=args.force)

    return ui.remove(args.image, remove)


def tag_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="an image")
    parser.add_argument("name", help="its further name, NAME[:TAG]")


def tag(args: argparse.Namespace, ui: Ui) -> int:
    """Give an image a further name."""
    result = api.tag(ui.root, args.image, args.name)
    image = result.image
    ui.line({**(image.to_dict() if image else {}), "changed": result.changed}, args.name)
    return 0


def image_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="+")


def image_inspect(args: argparse.Namespace, ui: Ui) -> int:
    """Print everything about images."""
    from ansible_collections.uni.engine.plugins.module_utils.cli.output import show

    data: list[dict[str, Any]] = [api.inspect(ui.root, name).to_dict() for name in args.image]
    ui.emit(data, lambda: show(data))
    return 0


def image_history_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image")


def image_history(args: argparse.Namespace, ui: Ui) -> int:
    """Print what an image's layers are."""
    image = api.inspect(ui.root, args.image)
    rows = [
        {
            "digest": layer["digest"],
            "size": layer["size"],
            "media_type": layer.get("mediaType", ""),
            "what": layer.get("annotations", {}).get("org.uni-engine.layer", ""),
        }
        for layer in image.layers
    ]
    ui.table(
        rows, ("DIGEST", "SIZE", "WHAT"), [(row["digest"][7:19], format_size(row["size"]), row["what"]) for row in rows]
    )
    return 0


def image_prune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="all images that no VM uses, not only untagged ones")


def image_prune(args: argparse.Namespace, ui: Ui) -> int:
    """Remove what nothing uses."""
    result, freed = api.prune(ui.root, every=args.all)
    ui.line({"freed": freed, "actions": result.plan.describe()}, f"{format_size(freed)} freed")
    return 0
