# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU must not have, taken from the forked process that becomes it.

setpriv(1) does the same, but is one more program to start for each VM: a tenth of what QEMU's own start takes. It
stays as the way where Python has no ``_ctypes``. The calls: prctl(2), capset(2), capabilities(7).
"""

from __future__ import annotations

import os

EINVAL = 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38  # linux/prctl.h
CAPABILITY_VERSION = 0x20080522     # _LINUX_CAPABILITY_VERSION_3, linux/capability.h
CAPABILITIES = 64                   # as many as two words of a set can name


class Library:
    """The two calls that Python's ``os`` does not have; ImportError or OSError where they cannot be reached.

    The ``ctypes`` package costs 3 ms, its C part 0.4 ms.
    """

    def __init__(self) -> None:
        import _ctypes

        class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
            _type_ = "l"

        class Function(_ctypes.CFuncPtr):
            _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
            _restype_ = Long

        self._long, self._errno = Long, _ctypes.get_errno
        this = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # RTLD_NOW: what Python itself is linked with
        self._prctl, self._capset = (Function(_ctypes.dlsym(this, name)) for name in ("prctl", "capset"))

    def prctl(self, option: int, argument: int) -> bool:
        """prctl(2). False: the kernel does not know the argument."""
        zero = self._long(0)
        if not int(self._prctl(self._long(option), self._long(argument), zero, zero, zero)) & 0xFFFFFFFF:
            return True
        number = self._errno()
        if number != EINVAL:
            raise OSError(number, f"prctl {option}: {os.strerror(number)}")
        return False

    def drop_capabilities(self) -> None:
        """Empty effective, permitted and inheritable sets; the ambient one is a subset of these."""
        header = CAPABILITY_VERSION.to_bytes(4, "little") + bytes(4)
        if int(self._capset(header, bytes(24))) & 0xFFFFFFFF:
            number = self._errno()
            raise OSError(number, f"capset: {os.strerror(number)}")


_found: list[Library | None] = []


def library() -> Library | None:
    """What :func:`drop` needs, loaded once; None where this Python does not have it."""
    if not _found:
        try:
            _found.append(Library())
        except (ImportError, AttributeError, OSError):
            _found.append(None)
    return _found[0]


def drop(calls: Library, become: str) -> None:
    """Become another user without any capability, and never gain one again. Only for a process that is about to exec.

    :param become: ``UID:GROUPS``, the supplementary groups separated by commas; "" to stay who we are (not root)
    :raises OSError: something could not be dropped: nothing may run
    """
    if become:
        uid, _sep, groups = become.partition(":")
        os.setgroups([int(group) for group in groups.split(",") if group])
        for capability in range(CAPABILITIES):
            if not calls.prctl(PR_CAPBSET_DROP, capability):
                break                   # the last one that this kernel has was the one before
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
        calls.drop_capabilities()
    if not calls.prctl(PR_SET_NO_NEW_PRIVS, 1):
        raise OSError(EINVAL, "this kernel has no PR_SET_NO_NEW_PRIVS")


def settled(records: dict[str, list[str]], calls: Library | None) -> list[str]:
    """In the child: give up what has to be given up; the command that is left to be executed."""
    argv = records["arg"]
    if "become" not in records:
        return argv
    if calls is None:
        return records["wrapper"] + argv
    drop(calls, records["become"][-1])
    return argv
