# SPDX-License-Identifier: Apache-2.0
"""MQTT: one connection's life on the asyncio loop, and a broker for stores without one."""
