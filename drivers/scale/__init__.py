# SPDX-License-Identifier: Apache-2.0
"""Retail and laboratory scales on serial lines and TCP: one codec a protocol, one driver."""
