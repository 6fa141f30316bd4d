# SPDX-License-Identifier: Apache-2.0
"""Descriptions for schemas, taken from the texts below the fields in the source."""

import ast
import inspect
import re
from functools import cache
from types import ModuleType

from drivers.instore import codec
from gateway import upstream_status
from gateway.domain import commands, events, store


@cache
def field_texts() -> dict[str, dict[str, str]]:
    """Return the text below each field, by class and field, inherited ones included."""
    texts: dict[str, dict[str, str]] = {}
    for module in (store, events, commands, codec, upstream_status):
        texts |= _module_texts(module, texts)
    return texts


def _module_texts(
    module: ModuleType, known: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        own: dict[str, str] = {}
        for base in node.bases:
            if isinstance(base, ast.Name):
                own |= texts.get(base.id) or known.get(base.id, {})
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                own[field.target.id] = for_json(text.value.value)
        texts[node.name] = own
    return texts


def for_json(text: str) -> str:
    """Return a docstring as one line, in JSON's words."""
    return re.sub(r"\bNone\b", "null", " ".join(text.replace("``", "`").split()))
