#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Create, start, stop and remove VMs: one adapter over engine/vms."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_vm
short_description: Create, start, stop and remove unikernel VMs
version_added: 0.1.0
description:
  - Brings one VM into the wanted state and changes nothing when it is in it.
  - An option that is not set is not compared, so that it may be changed by other means.
  - Values are compared by what they mean - V(8080:80) is V(0.0.0.0:8080:80/tcp), V(1G) is V(1024M), and a tag is
    the image that it stands for now.
  - A change that a running guest does not notice is made live; one that needs a restart or another disk restarts
    or recreates the VM, and check mode says which.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  name:
    description:
      - The name of the VM - lower case letters, digits, C(_), C(.) and C(-).
    type: str
    required: true
  state:
    description:
      - V(present) - the VM exists as described; whether it runs is left as it is.
      - V(started) - it runs. A VM whose program has ended is started again.
      - V(healthy) - it runs, and its health check (or its program's start, where there is none) has succeeded.
      - V(stopped) - it exists and does not run.
      - V(restarted) - it is started anew, every time.
      - V(paused) - it exists, and its CPUs stand still.
      - V(saved) - its memory is written to disk and it does not run; V(started) goes on where it was.
      - V(absent) - it does not exist. Its volumes stay.
    type: str
    choices: [present, started, healthy, stopped, restarted, paused, saved, absent]
    default: started
  image:
    description:
      - The image - a name with an optional tag, an id or a digest. See M(uni.engine.uni_image), and O(pull).
      - Needed when the VM does not exist.
      - In check mode an image that is not on the host is a warning, for a task before this one may be about to make it.
    type: str
  pull:
    description:
      - V(missing) - an image that is not on the host is pulled, where its name begins with its registry.
      - V(always) - its registry is asked each time, and a VM whose image is another one by now is made anew. In check
        mode the difference names the new image by its manifest's digest, for its id is known only once it is here.
      - V(never) - it must be on the host.
      - Credentials are those of M(uni.engine.uni_registry).
    type: str
    choices: [missing, always, never]
    default: missing
  command:
    description: The program and its first arguments, in place of the image's entrypoint.
    type: list
    elements: str
  args:
    description: The arguments, in place of the image's.
    type: list
    elements: str
  env:
    description:
      - Environment variables, added to the image's. Values that are not text must be quoted.
      - They reach the guest through a file of mode 0600 and never through QEMU's command line.
    type: dict
  env_file:
    description:
      - Files on the managed host with lines C(NAME=VALUE), taken as they are; empty lines and those that begin with
        C(#) count for nothing. A later file, and O(env), have the last word.
    type: list
    elements: path
  workdir:
    description: The working directory of the program.
    type: str
    aliases: [working_dir]
  user:
    description: The numeric user, or user and group, V(UID[:GID]), that the program runs as.
    type: str
  hostname:
    description: The host name that the guest sees.
    type: str
  memory:
    description: The memory of the VM, such as V(64M) or V(1G); a number counts bytes.
    type: str
  cpus:
    description: The number of virtual CPUs.
    type: int
  cpu_pin:
    description: The CPUs of the host that the VM may use, such as V(0-2,5).
    type: str
    aliases: [cpuset_cpus]
  ports:
    description:
      - Ports of the host that lead into the VM, V([BIND:]HOST:GUEST[/udp]); ranges such as V(8000-8010:80-90) work.
    type: list
    aliases: [published_ports]
    elements: str
  networks:
    description:
      - The networks of the VM; the first one is C(eth0).
      - V(none), V(user) (needs no privileges, the default), the name of a network, V(tap:INTERFACE), or a
        dictionary with C(name), C(ip), C(ip6), C(mac), C(aliases), C(gateway) and C(dns).
    type: list
    elements: raw
  dns:
    description: Name servers.
    type: list
    aliases: [dns_servers]
    elements: str
  dns_search:
    description: Search domains.
    type: list
    aliases: [dns_search_domains]
    elements: str
  extra_hosts:
    description: Further lines of C(/etc/hosts), name to address.
    type: dict
    aliases: [etc_hosts]
  volumes:
    description:
      - Volumes, V(NAME:/path) or V(NAME:/path:ro). They outlive the VM.
      - One that does not exist is created with the default size; M(uni.engine.uni_volume) creates one of any size.
    type: list
    elements: str
  tmpfs:
    description: Memory file systems, V(/path) or V(/path:size=64M).
    type: list
    elements: str
  ulimits:
    description:
      - Limits of the program, V(NAME:SOFT[:HARD]), such as V(nofile:4096) or V(memlock:unlimited), with the names of
        limits.conf(5). The kernel lets a program open 1,024 files, and raise that itself up to 1,048,576.
    type: list
    elements: str
  secrets:
    description:
      - Files that only the guest sees.
      - A difference shows that a secret changed, never what it is.
    type: list
    elements: dict
    suboptions:
      name:
        description: The name of the file below C(/run/secrets).
        type: str
      path:
        description: Its path, where it shall lie elsewhere.
        type: path
      content:
        description: What is in it. This, O(secrets[].content_b64) or O(secrets[].src) is needed.
        type: str
      content_b64:
        description: What is in it, in base64, for content that is not text.
        type: str
      src:
        description: A file on the managed host that holds it.
        type: path
      mode:
        description: Its mode in octal digits, in quotes.
        type: raw
        default: "0400"
      uid:
        description: The user that owns it in the guest.
        type: int
        default: 0
      gid:
        description: The group that owns it in the guest.
        type: int
        default: 0
  read_only:
    description: Whether the root file system is mounted read-only.
    type: bool
  tty:
    description: Whether the program's standard streams are a terminal.
    type: bool
  trace:
    description: Whether every system call is printed on the console.
    type: bool
  labels:
    description: Labels.
    type: dict
  restart_policy:
    description:
      - What happens when the program ends - V(no), V(on-failure), V(on-failure:N), V(always) or V(unless-stopped).
    type: str
  health_check:
    description:
      - How to know that the program answers - V(tcp:PORT), V(http:PORT:/path), V(log:PATTERN), V(ready), V(none), or a
        dictionary with that as C(test), and with C(interval) (by default V(10s)), C(timeout) (V(5s)),
        C(retries) (V(3)), C(start_period) (V(30s)) and C(on_failure) (V(none), V(restart) or V(kill)).
      - Of an HTTP answer, C(statuses) are the status codes that count as healthy (by default V(200-399)), C(body) is a
        text that must be in it, and C(host) is what the request says in C(Host).
    type: raw
  stop_signal:
    description: The signal that asks the program to end, by default the image's or C(SIGTERM).
    type: str
  stop_timeout:
    description: How long the program may take to end after that signal, such as V(30s).
    type: str
  auto_remove:
    description: Whether the VM is removed when its program ends.
    type: bool
  limits:
    description:
      - Limits of what the VM may use of the host (cgroup v2) - C(cpu), C(cpu_weight), C(memory), C(pids),
        C(io_read_bps), C(io_write_bps), C(io_read_iops), C(io_write_iops).
    type: dict
  log_max_size:
    description: The size at which the console log is rotated.
    type: str
  log_max_files:
    description: How many console logs are kept.
    type: int
  disk_bps:
    description: Bytes per second that each disk moves, such as V(20M); 0 for no limit.
    type: str
  disk_read_bps:
    description: Bytes per second that each disk reads. It excludes O(disk_bps).
    type: str
  disk_write_bps:
    description: Bytes per second that each disk writes. It excludes O(disk_bps).
    type: str
  disk_iops:
    description: Operations per second of each disk; 0 for no limit.
    type: int
  disk_read_iops:
    description: Reads per second of each disk. It excludes O(disk_iops).
    type: int
  disk_write_iops:
    description: Writes per second of each disk. It excludes O(disk_iops).
    type: int
  net_in_bps:
    description: Bytes per second that each of its interfaces on managed networks receives, such as V(2M); 0 for none.
    type: str
  net_out_bps:
    description: Bytes per second that each of its interfaces on managed networks sends; 0 for no limit.
    type: str
  rng:
    description: Whether the VM has a virtio entropy device.
    type: bool
  kernel:
    description:
      - The kernel - V(default) (the host's), V(image) (the one that the image carries), a version, or a path.
    type: str
  kernel_args:
    description: More words for the kernel's command line.
    type: str
  guest:
    description: The guest framework.
    type: str
    choices: [uni]
  monitor:
    description: The virtual machine monitor.
    type: str
    choices: [qemu]
  machine:
    description: The machine type.
    type: str
    choices: [microvm, q35, pc]
  accel:
    description:
      - The accelerator. V(auto) proves KVM with a small guest before using it and falls back to V(tcg).
    type: str
    choices: [auto, kvm, tcg]
  hardening:
    description: V(required) refuses to run a VM with less than every measure that Uni knows.
    type: str
    choices: [default, required]
  debug:
    description: Whether the VM's directory has a socket of QEMU's gdb stub.
    type: bool
  recreate:
    description:
      - Whether the VM may be made anew where a change needs that; its instance disk is lost then, volumes stay.
      - V(always) makes it anew every time.
    type: str
    choices: [auto, always, never]
    default: auto
  comparisons:
    description:
      - How options are compared, by name, or with the name V(*) for all - V(strict), V(allow_more) (what is there
        beyond the wanted entries of a list or dictionary may stay; V(allow_more_present) is another name for it)
        or V(ignore).
    type: dict
  wait:
    description:
      - What to wait for when this task starts the VM - that it runs, that its program has begun (V(ready)), or that
        it has ended (V(exited)).
      - With V(exited), a program that ended with a failing status fails the task, and O(auto_remove) removes the VM
        once its console and status have been read.
    type: str
    aliases: [wait_for]
    choices: [running, ready, exited]
    default: running
  wait_timeout:
    description: How long booting, and what O(wait) or O(state=healthy) waits for, may take, such as V(60s) or V(5m).
    type: str
    default: 60s
seealso:
  - module: uni.engine.uni_vm_info
  - module: uni.engine.uni_image
"""

EXAMPLES = r"""
- name: Run a web server
  uni.engine.uni_vm:
    name: web
    image: web:latest
    memory: 64M
    ports: ["127.0.0.1:8080:80"]
    env:
      GREETING: hello
    restart_policy: on-failure

- name: Run what a registry has, and no faster than its neighbors bear
  uni.engine.uni_vm:
    name: worker
    image: registry.example.org/team/worker:1
    pull: always
    env_file: [/etc/worker.env]
    disk_read_bps: 20M
    disk_write_iops: 200
    limits: {cpu: 0.5, memory: 256M}

- name: Run something to its end
  uni.engine.uni_vm:
    name: job
    image: busybox:latest
    args: [sha256sum, /data/input]
    wait: exited
    wait_timeout: 5m
  register: job

- name: Show what it printed
  ansible.builtin.debug:
    var: job.console

- name: Remove it
  uni.engine.uni_vm:
    name: web
    state: absent
"""

RETURN = r"""
vm:
  description: The VM after the task; empty when it does not exist.
  returned: success
  type: dict
  sample:
    id: 5b1f0c9a7e21
    name: web
    image: web:latest
    status: running
    memory: 67108864
    ports: ["127.0.0.1:8080:80/tcp"]
    boot_seconds: 0.131
    exit: null
console:
  description: The last lines of the console, when the task waited for the end.
  returned: O(wait=exited)
  type: list
  elements: str
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import (
    plan_result,
    root_of,
    run_module,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    GuestError,
    NotFoundError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ensure
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import FIELDS
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import STATES, VmSpec

CONSOLE_LINES = 1000
STARTING = frozenset({"start", "restart"})
TYPES: dict[str, dict[str, Any]] = {
    **{name: {"type": "list", "elements": "str"} for name in (
        "command", "args", "ports", "dns", "dns_search", "volumes", "tmpfs", "ulimits")},
    **{name: {"type": "dict"} for name in ("env", "extra_hosts", "labels", "limits")},
    **{name: {"type": "bool"} for name in ("read_only", "tty", "trace", "auto_remove", "rng", "debug")},
    **{name: {"type": "int"} for name in ("cpus", "log_max_files", "disk_iops", "disk_read_iops", "disk_write_iops")},
    "networks": {"type": "list", "elements": "raw"},
    # What is in them is not logged. no_log for all of it would put stars for each "0" of an owner in every result.
    "secrets": {"type": "list", "elements": "dict", "no_log": False, "options": {
        **{name: {"type": "str", "no_log": True} for name in ("content", "content_b64")},
        **{name: {"type": "int", "default": 0} for name in ("uid", "gid")},
        "name": {"type": "str"}, "path": {"type": "path"}, "src": {"type": "path"},
        "mode": {"type": "raw", "default": "0400"},
    }},
    "health_check": {"type": "raw"},
    **{name: {"type": "str"} for name in ("workdir", "cpu_pin")},
    "guest": {"type": "str", "choices": ["uni"]},
    "monitor": {"type": "str", "choices": ["qemu"]},
    "machine": {"type": "str", "choices": ["microvm", "q35", "pc"]},
    "accel": {"type": "str", "choices": ["auto", "kvm", "tcg"]},
    "hardening": {"type": "str", "choices": ["default", "required"]},
}

# What community.docker's docker_container calls options that mean the same here.
for _name, _alias in (("workdir", "working_dir"), ("ports", "published_ports"), ("dns", "dns_servers"),
                      ("dns_search", "dns_search_domains"), ("extra_hosts", "etc_hosts"), ("cpu_pin", "cpuset_cpus")):
    TYPES[_name]["aliases"] = [_alias]


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, root = module.params, root_of(module)
    timeout = parse_duration(params["wait_timeout"], what="wait_timeout")
    options = {name: params[name] for name in FIELDS}
    if params["env_file"]:
        options["env"] = {**environment(params["env_file"]), **(params["env"] or {})}
    if params["secrets"]:
        options["secrets"] = [{key: value for key, value in entry.items() if value is not None}
                              for entry in params["secrets"]]
    spec = VmSpec.parse(params["name"], options)
    keywords = {"recreate": params["recreate"], "comparisons": params["comparisons"]}
    if params["wait"] == "exited" and not module.check_mode and removes_itself(root, spec):
        plan = bring(root, spec, params["state"], params["pull"], check=True, timeout=timeout, **keywords).plan
        if any(action.kind in STARTING for action in plan.actions):
            return plan_result(plan, **run_and_remove(module, root, options, {"timeout": timeout, **keywords}))
    try:
        result = bring(root, spec, params["state"], params["pull"], check=module.check_mode, timeout=timeout,
                       **keywords)
    except NotFoundError as error:
        if not module.check_mode or error.code != "image.not_found":
            raise
        # Check mode makes nothing, so the task that builds this image has made none either.
        module.warn(f"{error}: this is what would be done with one that a task before makes")
        result = ensure.preview(root, spec, params["state"], image_id="", **keywords)
    values: dict[str, Any] = {"vm": result.vm or {}}
    started = any(action.kind in STARTING for action in result.plan.actions)
    if started and not module.check_mode and params["wait"] != "running":
        values = wait(module, root, timeout)
    return plan_result(result.plan, **values)


def removes_itself(root: Any, spec: VmSpec) -> bool:
    """Whether the VM is removed when its program ends, as the task or, where it does not say, the VM has it."""
    if "auto_remove" in spec.values:
        return bool(spec.values["auto_remove"])
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record

    vm = record.find_name(root, spec.name)
    return vm is not None and bool(vm.values.get("auto_remove"))


def run_and_remove(module: Any, root: Any, options: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Run to its end a VM that removes itself: it is removed here, once its console and status have been read."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    name, state, pull = module.params["name"], module.params["state"], module.params["pull"]
    bring(root, VmSpec.parse(name, {**options, "auto_remove": False}), state, pull, **how)
    try:
        values = wait(module, root, how["timeout"])
    except DeadlineError:  # it runs on, and is nobody's but its own again
        bring(root, VmSpec.parse(name, {"auto_remove": True}), "present", "never")
        raise
    except GuestError:
        api.remove(root, name, force=True)
        raise
    api.remove(root, name, force=True)
    return values


def environment(paths: list[str]) -> dict[str, str]:
    """The variables of the files; a name without a value has none here, for a task has no shell."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.environment import passed_on, read_files

    return passed_on(read_files(paths), {})


def bring(root: Any, spec: VmSpec, state: str, pull: str, **options: Any) -> ensure.VmResult:
    """Ensure the state. What pulling needs is only read where something may have to be pulled."""
    try:
        if pull != "always":
            return ensure.ensure(root, spec, state, **options)
    except NotFoundError as error:
        if pull == "never" or error.code != "image.not_found":
            raise
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.pulling import ensure_vm

    return ensure_vm(root, spec, state, pull=pull, **options)


def wait(module: Any, root: Any, timeout: float) -> dict[str, Any]:
    """Wait for what the task says; the VM afterwards, and its console when it has ended."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    name, event = module.params["name"], module.params["wait"]
    if event == "ready":
        api.wait_for(root, name, "ready", timeout=timeout)
        return {"vm": api.info(api.resolve_vm(root, name))}
    verdict = api.wait(root, name, timeout=timeout)
    lines = [line.text.decode("utf-8", "replace") for line in api.logs(root, name, tail=CONSOLE_LINES)]
    if verdict.get("code") != 0:
        end = "".join(f"\n{line}" for line in lines[-10:])
        raise GuestError(f"the program of VM {name} ended with status {verdict.get('code')}; "
                         + (f"its last lines:{end}" if end else "it printed nothing"),
                         code="vm.failed", hint=f"see `uni logs {name}`")
    return {"vm": api.info(api.resolve_vm(root, name)), "console": lines}


def main() -> None:
    run_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": list(STATES), "default": "started"},
            **{name: TYPES.get(name, {"type": "str"}) for name in FIELDS},
            "recreate": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
            "comparisons": {"type": "dict"},
            "pull": {"type": "str", "choices": ["missing", "always", "never"], "default": "missing"},
            "env_file": {"type": "list", "elements": "path"},
            "wait": {"type": "str", "aliases": ["wait_for"], "choices": ["running", "ready", "exited"],
                     "default": "running"},
            "wait_timeout": {"type": "str", "default": "60s"},
        },
        work,
    )


if __name__ == "__main__":
    main()
