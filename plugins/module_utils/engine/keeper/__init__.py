# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper: the small process that stands behind running VMs, as conmon stands behind containers.

It is the parent of QEMU for one or several VMs. It holds the far ends of the console and the control port,
writes the console log, records how the guest ended, restarts it where its policy says so, and serves
``keeper.sock`` to whoever wants to attach, wait, stop or send a command. It owns no state that is not on disk:
when it is killed, QEMU goes on, and the next command starts a keeper that adopts the VM.

It runs from a copy of this package in the root directory (see :mod:`..keepers`), under ``python3 -I -S``, and
imports nothing of the engine; before QEMU runs, nothing that costs more than a millisecond.

Each VM's directory holds ``launch``: records ``KEY=VALUE`` ended by a NUL byte, the same shape as the guest's
configuration. Keys marked * may repeat.

=============  ================================================================================================
``arg*``       QEMU's command line; ``@NAME@`` stands for the number of a file descriptor
``file*``      ``NAME:r:PATH`` or ``NAME:rw:PATH``: opened by the keeper, passed as ``@NAME@``
``socket*``    ``NAME``: a listening UNIX socket ``NAME.sock`` (0600), passed as ``@NAME@``
``tap*``       ``NAME:INTERFACE:BRIDGE:ISOLATED:MTU``: a TAP interface made by the keeper, passed as ``@NAME@``
``rlimit*``    ``NUMBER:SOFT:HARD`` (setrlimit(2));  ``cgroup*`` a cgroup directory that QEMU enters
``facts``      a JSON object, copied into every state record
``control``    1 when the guest speaks Uni's control port
``restart``    ``no``, ``always``, ``unless-stopped``, ``on-failure`` or ``on-failure:N``
``log_size``   bytes of one console log file;  ``log_files`` how many of them
``health``     a JSON object, see :mod:`.health`
``events``     path of the events log
``cleanup*``   a JSON list: argv of a command that runs when the VM is finally down
``remove``     1: remove the directory and every ``unlink*`` path when the VM is finally down
=============  ================================================================================================
"""

from __future__ import annotations
