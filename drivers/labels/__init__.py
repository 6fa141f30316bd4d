# SPDX-License-Identifier: Apache-2.0
"""What a code on a product says: its number, and what stands beside it."""
