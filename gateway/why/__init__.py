# SPDX-License-Identifier: Apache-2.0
"""``shelfgate why``: the story of one event, in words and as a picture."""
