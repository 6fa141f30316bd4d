# SPDX-License-Identifier: Apache-2.0
from tests.gateway.domain.conftest import scene, shopping

__all__ = ["scene", "shopping"]
