# SPDX-License-Identifier: Apache-2.0
"""Cameras as devices: frames in, people and wrists in store millimetres out."""
