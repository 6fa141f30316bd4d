# SPDX-License-Identifier: Apache-2.0
"""The pure engine: inputs in, events and effects out. No clock, no randomness, no I/O."""
