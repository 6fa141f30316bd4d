# SPDX-License-Identifier: Apache-2.0
"""A store that does not exist: for the demo, the tests and installers' dry runs."""
