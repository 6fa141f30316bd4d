# SPDX-License-Identifier: Apache-2.0
"""HX711-class bridges: a microcontroller that sends one line of ADC counts per sample."""
