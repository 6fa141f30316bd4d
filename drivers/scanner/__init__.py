# SPDX-License-Identifier: Apache-2.0
"""Barcode scanners on a serial line."""
