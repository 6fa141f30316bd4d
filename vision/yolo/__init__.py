# SPDX-License-Identifier: AGPL-3.0-or-later
"""Training, export and measuring of the small model: the one place that imports ultralytics."""
