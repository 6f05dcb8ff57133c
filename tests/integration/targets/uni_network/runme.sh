#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The playbook runs in a network namespace: bridges and packet rules of the machine stay as they are.
set -eux

export ANSIBLE_DIFF_ALWAYS=0
exec unshare --net -- bash -c 'ip link set lo up && exec "$@"' -- \
    ansible-playbook -i ../../inventory playbook.yml -v -e "output_dir=$OUTPUT_DIR" "$@"
