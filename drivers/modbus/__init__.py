# SPDX-License-Identifier: Apache-2.0
"""Weight transmitters that speak Modbus: RTU on serial lines and TCP, and Modbus TCP."""
