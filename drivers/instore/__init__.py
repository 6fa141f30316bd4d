# SPDX-License-Identifier: Apache-2.0
"""Devices that speak the in-store contract over MQTT."""
