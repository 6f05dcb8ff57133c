# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.plan import (
    Host,
    Present,
    in_order,
    plan_down,
    plan_up,
    vm_spec,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.spec import parse_stack
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Observed

STACK = """
name: shop
services:
  web: {image: web, ports: ['8080:80'], depends_on: {api: {condition: service_healthy}}}
  api:
    image: api
    health_check: tcp:80
    volumes: ['data:/data:ro', '/srv/disk.img:/disk']
    depends_on: {migrate: {condition: service_completed_successfully}}
  migrate: {image: migrate, volumes: ['data:/data']}
volumes: {data: {size: 8M}, unused: }
"""
IMAGES = {name: f"sha256:{name}" for name in ("web", "api", "migrate")}


def stack(text=STACK):
    return parse_stack(text, file="stack.yaml")


def there(spec, *, images=IMAGES, status="running", exits=None):
    """The host as it is after `up` brought the stack there."""
    vms = {}
    for name, service in spec.services.items():
        for number in range(1, service.scale + 1):
            vm = vm_spec(spec, service, number)
            observed = Observed("0" * 12, status, vm.values, images[vm.values["image"]])
            vms[vm.name] = Present(vm.name, name, number, observed)
    for name, code in (exits or {}).items():
        old = vms[name]
        vms[name] = replace(old, exit_code=code, observed=replace(old.observed, status="exited"))
    return Host(vms, images, ["shop-data"])


def kinds(planned):
    return [f"{a.kind} {a.target}" for a in planned.plan.actions]


def test_a_new_stack_in_order():
    planned = plan_up(stack(), Host({}, IMAGES))
    assert kinds(planned) == [
        "create volume/shop-data",
        "create vm/shop-migrate-1", "start vm/shop-migrate-1",
        "create vm/shop-api-1", "start vm/shop-api-1",
        "create vm/shop-web-1", "start vm/shop-web-1"]
    assert planned.instances[1].spec.values["volumes"] == ["shop-data:/data:ro", "/srv/disk.img:/disk"]
    assert in_order(stack()) == ("migrate", "api", "web")


def test_twice_changes_nothing_also_when_the_job_is_done():
    assert kinds(plan_up(stack(), there(stack()))) == []
    assert kinds(plan_up(stack(), there(stack(), exits={"shop-migrate-1": 0}))) == []


def test_a_job_that_failed_runs_again_and_so_does_a_server_that_ended():
    assert kinds(plan_up(stack(), there(stack(), exits={"shop-migrate-1": 1}))) == ["start vm/shop-migrate-1"]
    assert kinds(plan_up(stack(), there(stack(), exits={"shop-web-1": 0}))) == ["start vm/shop-web-1"]


def test_an_edited_service_is_replaced_alone():
    host = there(stack())
    assert kinds(plan_up(stack(), replace(host, images={**IMAGES, "api": "sha256:new"}))) == \
        ["recreate vm/shop-api-1", "start vm/shop-api-1"]
    edited = stack(STACK.replace("'8080:80'", "'8081:80'"))
    assert kinds(plan_up(edited, host)) == ["update vm/shop-web-1"]
    spelled = stack(STACK.replace("'8080:80'", "'0.0.0.0:8080:80/tcp'"))
    assert kinds(plan_up(spelled, host)) == []
    done = there(stack(), exits={"shop-migrate-1": 0})
    assert kinds(plan_up(stack(), replace(done, images={**IMAGES, "migrate": "sha256:new"}))) == \
        ["recreate vm/shop-migrate-1", "start vm/shop-migrate-1"]


def test_scale_and_orphans():
    many = stack(STACK.replace("'8080:80'", "'0:80'"))
    host = there(many)
    planned = plan_up(many, host, scale={"web": 3})
    assert kinds(planned) == [f"{k} vm/shop-web-{n}" for n in (2, 3) for k in ("create", "start")]
    grown = Host({**host.vms, "shop-web-2": replace(host.vms["shop-web-1"], name="shop-web-2", number=2)},
                 IMAGES, ["shop-data"])
    assert kinds(plan_up(many, grown)) == ["stop vm/shop-web-2", "remove vm/shop-web-2"]
    less = stack(STACK.replace("web: {image: web, ports: ['8080:80'], "
                               "depends_on: {api: {condition: service_healthy}}}", "x: {image: web}"))
    planned = plan_up(less, replace(host, images={**IMAGES}))
    assert planned.orphans == ("shop-web-1",)
    assert kinds(planned) == ["create vm/shop-x-1", "start vm/shop-x-1"]
    assert "remove vm/shop-web-1" in kinds(plan_up(less, host, remove_orphans=True))


def test_some_services_bring_what_they_depend_on():
    planned = plan_up(stack(), Host({}, IMAGES), services=["api"])
    assert [i.service for i in planned.instances] == ["migrate", "api"]
    # What was not asked for is left as it is.
    assert kinds(plan_up(stack(), there(stack()), services=["migrate"])) == []


def test_down_takes_dependents_first():
    plan, waves = plan_down(list(there(stack()).vms.values()))
    assert waves == (("shop-web-1",), ("shop-api-1",), ("shop-migrate-1",))
    assert len([a for a in plan.actions if a.kind == "remove"]) == 3


def test_down_survives_labels_that_form_a_circle():
    vms = []
    for name, after in (("a", "b"), ("b", "a")):
        observed = Observed("0" * 12, "running", {"labels": {"uni.depends": after}})
        vms.append(Present(f"s-{name}-1", name, 1, observed))
    assert plan_down(vms)[1] == (("s-a-1", "s-b-1"),)


def test_fractions_of_a_cpu():
    spec = stack("services: {a: {image: web, cpus: 1.5}}")
    values = vm_spec(spec, spec.services["a"], 1).values
    assert values["cpus"] == 2 and values["limits"] == {"cpu": 1.5}
