# SPDX-License-Identifier: Apache-2.0
"""Scanners that speak Zebra's SSI in packets."""
