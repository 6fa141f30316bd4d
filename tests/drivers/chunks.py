# SPDX-License-Identifier: Apache-2.0
"""What every scanner's codec promises of streams that are cut, noisy or endless."""

from itertools import pairwise

from hypothesis import strategies as st

CUTS = st.lists(st.integers(0, 4_000), max_size=20)


def fed_in_pieces(decoder, stream, cuts):
    """Return what a decoder finds in a stream that is cut at places."""
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(bounds)]
    return [result for piece in pieces for result in decoder.feed(piece)]
