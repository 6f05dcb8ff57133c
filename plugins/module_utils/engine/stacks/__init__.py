# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks: several services declared in one YAML file, brought up and taken down together."""
