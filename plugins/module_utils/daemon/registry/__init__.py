# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded OCI registry: storage on disk, and the HTTP server over it."""
