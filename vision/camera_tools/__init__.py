# SPDX-License-Identifier: Apache-2.0
"""What an installer does with cameras: look which there are, take pictures, watch, calibrate."""
