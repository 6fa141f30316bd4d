# SPDX-License-Identifier: Apache-2.0
"""Drawing is an extra: how to say that its library is not there, and how to keep it quiet.

Whoever draws imports this before anything of matplotlib.
"""

import logging

# Its import tells of its font cache, so this has to come before that.
logging.getLogger("matplotlib").setLevel(logging.WARNING)


def without_plots(error: ModuleNotFoundError) -> str:
    """Return what to tell somebody who asked for a picture.

    Raises:
        ModuleNotFoundError: Something else is missing: a bug.
    """
    if not (error.name or "").startswith("matplotlib"):
        raise error
    return f"--plot: {error.name} is missing. Install shelfgate[plots]"
