# SPDX-License-Identifier: Apache-2.0
"""Emulated scales: what each protocol's scale sends and answers, and faults to order."""
