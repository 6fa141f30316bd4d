# SPDX-License-Identifier: Apache-2.0
"""Shelves on MQTT whose firmware speaks something else than the in-store contract."""
