# SPDX-License-Identifier: Apache-2.0
"""What is on a port? For installers who have a cable and no manual."""
