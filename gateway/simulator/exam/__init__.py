# SPDX-License-Identifier: Apache-2.0
"""An exam for "who took what": hard scripts, sensors that misbehave, and a score."""
