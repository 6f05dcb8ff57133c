# SPDX-License-Identifier: GPL-3.0-or-later
"""unid: the daemon. A convenience over the engine, never a dependency of it."""
