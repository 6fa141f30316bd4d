# SPDX-License-Identifier: Apache-2.0
"""Files that the settings name."""

from typing import Annotated, Final

from msgspec import Meta

CREDENTIAL: Final = "credential:"

File = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4_000,
        description="a file, relative to the settings file or from the root",
        extra={"file": True},
    ),
]
SecretFile = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4_000,
        description='a file that holds the secret alone, or "credential:NAME" under systemd',
        extra={"file": True, "verbatim": CREDENTIAL},
    ),
]
