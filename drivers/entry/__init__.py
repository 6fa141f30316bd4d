# SPDX-License-Identifier: Apache-2.0
"""Entry tokens, verified offline before anything else sees them."""
