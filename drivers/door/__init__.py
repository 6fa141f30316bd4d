# SPDX-License-Identifier: Apache-2.0
"""Doors that the gateway opens itself: by a relay on a serial line, or by any topic on MQTT."""
