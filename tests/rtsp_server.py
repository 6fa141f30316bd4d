# SPDX-License-Identifier: Apache-2.0
"""A camera on RTSP for tests: gst-rtsp-server with a picture that is moved, frozen or covered.

Debian's bindings belong to Debian's Python, so this runs as a process of its own, without our code:
``/usr/bin/python3 tests/rtsp_server.py PORT WIDTH HEIGHT FPS`` serves ``rtsp://127.0.0.1:PORT/cam``,
writes ``ready``, and answers each line ``PROPERTY=VALUE`` for the picture's source with ``done``.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

port, width, height, fps = sys.argv[1:]
Gst.init(None)
for element in ("videotestsrc", "x264enc", "rtph264pay"):
    assert Gst.ElementFactory.find(element), f"{element} is not installed"
if port == "check":
    assert GstRtspServer.RTSPServer()
    sys.exit()

loop = GLib.MainLoop()
media_seen = []
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    # Bars that wander: a picture that is neither frozen nor uniform.
    "( videotestsrc name=picture is-live=true pattern=smpte100 horizontal-speed=4 "
    f"! video/x-raw,width={width},height={height},framerate={fps}/1 "
    f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=800 "
    "! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
factory.connect("media-configure", lambda _factory, media: media_seen.append(media))
server.get_mount_points().add_factory("/cam", factory)


def obey(channel, _condition):
    line = channel.readline()
    if not line:
        loop.quit()
        return False
    name, _, value = line.strip().partition("=")
    picture = media_seen[-1].get_element().get_by_name("picture")
    Gst.util_set_object_arg(picture, name, value)
    sys.stdout.write("done\n")
    sys.stdout.flush()
    return True


assert server.attach(None), f"port {port} cannot be listened on"
GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, obey)
sys.stdout.write("ready\n")
sys.stdout.flush()
loop.run()
