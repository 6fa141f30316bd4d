# SPDX-License-Identifier: Apache-2.0
"""Emulated scanners: what each protocol's scanner sends and answers, and faults to order."""
