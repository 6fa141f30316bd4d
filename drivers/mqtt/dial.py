# SPDX-License-Identifier: Apache-2.0
"""What blocks while connecting: name look-up, TCP, TLS."""

import ssl

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from drivers.errors import DeviceGoneError
from drivers.mqtt.config import MqttConfig
from drivers.mqtt.packets import PACKET_BYTES_MAX, PacketClient
from drivers.mqtt.tls import Context, TlsFileError


def new_client(config: MqttConfig) -> PacketClient:
    """Return a paho client that neither queues nor reconnects by itself."""
    if config.protocol == 5:
        client = PacketClient(
            CallbackAPIVersion.VERSION2, config.client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
    else:
        client = PacketClient(
            CallbackAPIVersion.VERSION2,
            config.client_id,
            clean_session=config.clean,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
    client.max_inflight_messages_set(0)  # The caller holds the window; paho must not queue.
    client.connect_timeout = config.connect_timeout_s
    if config.username is not None:
        client.username_pw_set(config.username, config.password)
    return client


def dial(client: Client, config: MqttConfig) -> None:
    """Do what blocks: read certificates, look the name up, connect, shake hands, send CONNECT."""
    context = None
    try:
        if config.tls is not None:
            context = Context.of(config.tls)
            client.tls_set_context(context)
        if config.protocol == 5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it untyped.
            properties.SessionExpiryInterval = config.session_expiry_s
            properties.MaximumPacketSize = PACKET_BYTES_MAX
            if config.receive_maximum is not None:
                properties.ReceiveMaximum = config.receive_maximum
            client.connect(
                config.host,
                config.port,
                config.keepalive_s,
                clean_start=config.clean,
                properties=properties,
            )
        else:
            client.connect(config.host, config.port, config.keepalive_s)
    except OSError as error:
        problem, remedy = _explain(error, tls=context is not None)
        raise DeviceGoneError(config.name, problem, remedy) from error
    finally:
        if client.socket() is None and context is not None and context.wrapped is not None:
            context.wrapped.close()


def _explain(error: OSError, *, tls: bool) -> tuple[str, str]:
    """Return what went wrong while connecting, and what to do."""
    match error:
        case TlsFileError():
            return f"tls.{error.key} {error.problem}", error.remedy
        case ssl.SSLError():
            return _explain_tls(error)
        case ConnectionResetError():
            remedy = "Check that this port speaks TLS" if tls else "Check the broker's log"
            return "closed the connection at once", remedy
        case ConnectionRefusedError():
            return "nothing listens there", "Start the broker, or correct host and port"
        case TimeoutError():
            return "no answer in time", unanswered(tls=tls)
    return f"cannot connect ({error})", "Check host and network"


def unanswered(*, tls: bool) -> str:
    """Return what to do when nothing answers, before TLS or instead of it."""
    if tls:  # A plain port may wait for the rest of what it takes for a packet.
        return "Check that this port speaks TLS, and host, port and firewall"
    return "Check host, port and firewall"


def _explain_tls(error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message})",
            "Name the right authority in tls.ca, and the broker as its certificate does",
        )
    if _refused_us(error.reason):
        return refusal(error.reason)
    return (
        f"TLS failed ({error.reason or error})",
        "Check that this port speaks TLS and that the certificate files are right",
    )


def _refused_us(reason: str | None) -> bool:
    """Tell whether the broker's alert is about this client's certificate."""
    return reason is not None and "ALERT" in reason and ("CERT" in reason or "CA" in reason)


def refusal(reason: str | None) -> tuple[str, str]:
    """Return what went wrong when the broker closed before CONNACK, and what to do.

    Args:
        reason: What the broker's TLS alert said, as OpenSSL names it; None: there was none.
    """
    if reason is None:
        return (
            "closed the connection before accepting it",
            "Check protocol, TLS, client id, client certificate and credentials",
        )
    if not _refused_us(reason):
        return f"ended TLS ({reason})", "Check the broker's log"
    return (
        f"refused this client's certificate ({reason})",
        "Give a valid one of an authority that the broker trusts in tls.cert and tls.key",
    )
