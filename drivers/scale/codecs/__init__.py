# SPDX-License-Identifier: Apache-2.0
"""One file a protocol: what its frames look like, and what they say."""
