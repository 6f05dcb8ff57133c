# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything Uni knows. Imports nothing of Ansible."""
