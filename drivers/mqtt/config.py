# SPDX-License-Identifier: Apache-2.0
"""How to reach a broker, and what travels."""

from typing import Literal

import msgspec


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS with certificate and host name checks; there is no way to turn them off."""

    ca: str | None = None
    """File with the authorities to trust; None: the system's."""
    certificate: str | None = None
    """File with this client's certificate chain."""
    key: str | None = None
    """File with its private key; None when ``certificate`` holds it too."""


class MqttConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a broker."""

    host: str
    port: int = 1883
    client_id: str
    protocol: Literal[4, 5] = 5
    """4 is MQTT 3.1.1."""
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None
    keepalive_s: int = 30
    clean: bool = False
    """Forget the broker's session of this client when connecting."""
    session_expiry_s: int = 86_400
    """MQTT 5: how long the broker keeps the session. MQTT 3.1.1 keeps it as the broker likes."""
    receive_maximum: int | None = None
    """MQTT 5: how many inbound messages of QoS 1 the broker may have unacknowledged."""
    connect_timeout_s: float = 10.0

    def __repr__(self) -> str:
        """Show everything but the password."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.password is not None:
            shown["password"] = "…"  # noqa: S105 - hides one.
        return f"MqttConfig({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def name(self) -> str:
        """Return what messages call this broker."""
        return f"mqtt {self.host}:{self.port}"


class Will(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker publishes when the connection ends without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = True
    delay_s: int = 0
    """MQTT 5: how long the broker waits for a reconnect first."""


class Message(msgspec.Struct, frozen=True):
    """What came in."""

    topic: str
    payload: bytes
    retain: bool
    """Stored by the broker before the subscription, so of unknown age."""
    qos: int
    mid: int
