# SPDX-License-Identifier: Apache-2.0
"""Every key that a configuration may have."""

from typing import get_args

import msgspec

from gateway.config_read import _strip, _structs_of


def keys_of(cls):
    """Return every key of a struct and of those in it."""
    for field in msgspec.structs.fields(cls):
        yield field.encode_name
        plain = _strip(field.type)[0]
        for part in (plain, *(_strip(argument)[0] for argument in get_args(plain))):
            for struct in _structs_of(part):
                yield from keys_of(struct)
