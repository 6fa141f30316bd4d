# SPDX-License-Identifier: Apache-2.0
"""The daemon: pure engine in ``domain``, its adapters here, composed in ``app``."""
