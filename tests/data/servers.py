"""Servers of video on this machine, each on a free port, for the time of a block."""

import socket
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 20


@contextmanager
def running(target):
    """A thread that must have ended soon after the block."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server, server.getsockname()[1]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def http(folder):
    """The address of a folder."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, running(server.serve_forever):
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def tcp(data):
    """An address that gives these bytes to the first who asks."""
    with listening() as (server, port):

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(data)

        with running(serve):
            yield f"tcp://127.0.0.1:{port}"


@contextmanager
def udp(data):
    """An address to which these bytes come over and over, seven MPEG-TS packets at a time."""
    done = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not done.is_set():
                for at in range(0, len(data), 7 * 188):
                    out.sendto(data[at : at + 7 * 188], ("127.0.0.1", port))
                    time.sleep(0.002)

    with running(send):
        yield f"udp://127.0.0.1:{port}"
        done.set()


@contextmanager
def rtsp(path):
    """An address that plays a file of MPEG-4 video to the first who asks, and then says so."""
    with listening() as (server, port):

        def serve():
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as asked:
                connection.settimeout(PATIENCE)
                converse(connection, asked, path)

        with running(serve):
            yield f"rtsp://127.0.0.1:{port}/film"


def converse(connection, asked, path):
    """RTSP 1.0 (RFC 2326): the answers to a player, then the film over the same connection."""
    extra, packets = rtp_packets(path)
    about = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=film\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\n"
        f"a=fmtp:96 profile-level-id=1; config={extra.hex()}\r\na=control:one\r\n"
    )
    while line := asked.readline():
        method, address = line.decode().split()[:2]
        headers = dict(
            part.decode().strip().split(": ", 1) for part in iter(asked.readline, b"\r\n")
        )
        answer, body = f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\nSession: 1\r\n", ""
        if method == "DESCRIBE":
            body = about
            answer += f"Content-Base: {address}/\r\nContent-Type: application/sdp\r\n"
        answer += {
            "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        }.get(method, "")
        connection.sendall(f"{answer}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if method == "PLAY":
            for packet in packets:
                connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
            return


def rtp_packets(path):
    """The header of the video in a file, and its packets as FFmpeg would send them."""
    import av

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind(("127.0.0.1", 0))
        inbox.settimeout(0.2)
        packets = []
        with av.open(str(path)) as film:
            video = film.streams.video[0]
            where = f"rtp://127.0.0.1:{inbox.getsockname()[1]}"
            with av.open(where, "w", format="rtp") as out:
                stream = out.add_stream_from_template(video)
                for packet in film.demux(video):
                    if packet.dts is None:
                        continue
                    packet.stream = stream
                    out.mux(packet)
                    packets += received(inbox)
            return video.codec_context.extradata, packets + received(inbox)


def received(inbox):
    """What has come by now."""
    found = []
    try:
        while True:
            found.append(inbox.recv(65536))
            inbox.settimeout(0.01)
    except TimeoutError:
        return found
