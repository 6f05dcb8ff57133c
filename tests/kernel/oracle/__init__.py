# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux as the oracle: run one program on the host's Linux and on Uni, and compare what comes out."""
