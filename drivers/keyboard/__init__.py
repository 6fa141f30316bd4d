# SPDX-License-Identifier: Apache-2.0
"""Scanners that are keyboards to Linux (HID)."""
