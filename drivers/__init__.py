# SPDX-License-Identifier: Apache-2.0
"""Devices: one folder a family, codecs without I/O and drivers that move bytes."""
