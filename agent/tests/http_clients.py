"""Clients of one request over TLS: HTTP/1.1, HTTP/2 and HTTP/3. Each returns (status, headers, body).

`send_http1`, `send_http2` and `send_http3` send what they get, also if it is no valid request; without a response, the status is None.
"""

import http.client
import socket
import time

from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted
from aioquic.quic.events import StreamReset as QuicReset
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated as H2Terminated
from h2.events import DataReceived as H2Data
from h2.events import ResponseReceived, StreamEnded, StreamReset
from proxied_machine import TOKEN

HOST = "127.0.0.1"
RIGHT = {"authorization": f"Token {TOKEN}"}
SECONDS = 20


def over_http1(proxy, method="GET", path="/", headers=RIGHT, body=b"", host=HOST):
    connection = http.client.HTTPSConnection(HOST, proxy.port)
    connection.sock = proxy.connect(alpn=["http/1.1"])
    try:
        connection.request(method, path, body or None, {"Host": host, **headers})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def send_http1(proxy, request, method="GET"):
    with proxy.connect(alpn=["http/1.1"]) as way:
        answer = http.client.HTTPResponse(way, method=method)
        try:
            way.sendall(request)
            answer.begin()
        except (ConnectionError, http.client.BadStatusLine):
            return None, {}, b""
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def fields(method, path, host, headers):
    pseudo = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
    return [*pseudo.items(), *headers.items()]


def over_http2(proxy, method="GET", path="/", headers=RIGHT, body=b"", host=HOST):
    return send_http2(proxy, fields(method, path, host, headers), body)


def send_http2(proxy, wanted, body=b"", ends=True):
    """`ends`: whether the request ends; otherwise only the headers of the response are awaited."""
    got, said = {}, b""
    lenient = H2Configuration(
        header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
    )
    with proxy.connect(alpn=["h2"]) as way:
        talk = H2Connection(lenient)
        talk.initiate_connection()
        talk.send_headers(1, wanted, end_stream=ends and not body)
        while True:
            # No more than the flow control window, which grows as the other side reads.
            while body and (room := min(talk.local_flow_control_window(1), talk.max_outbound_frame_size, len(body))):
                talk.send_data(1, body[:room], end_stream=ends and room == len(body))
                body = body[room:]
            way.sendall(talk.data_to_send())
            for event in talk.receive_data(way.recv(65536)):
                if isinstance(event, ResponseReceived):
                    got = dict(event.headers)
                elif isinstance(event, H2Data):
                    said += event.data
                over = isinstance(event, (StreamEnded, StreamReset, H2Terminated))
                if over or (got and not ends):
                    return int(got[":status"]) if got else None, got, said


def over_http3(proxy, method="GET", path="/", headers=RIGHT, body=b"", host=HOST):
    return send_http3(proxy, fields(method, path, host, headers), body)


def send_http3(proxy, wanted, body=b"", ends=True):
    """`ends`: like that of `send_http2`."""
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=HOST, cafile=str(proxy.certificate))
    quic, there, end = QuicConnection(configuration=configuration), (HOST, proxy.port), time.monotonic() + SECONDS
    talk, got, said = H3Connection(quic), {}, b""
    with socket.socket(type=socket.SOCK_DGRAM) as way:
        way.bind((proxy.source, 0))
        way.connect(there)
        quic.connect(there, now=time.monotonic())
        while (now := time.monotonic()) < end:
            for datagram, _ in quic.datagrams_to_send(now):
                way.send(datagram)
            way.settimeout(max(min(quic.get_timer() or end, end) - now, 0.001))
            try:
                quic.receive_datagram(way.recv(65536), there, now=time.monotonic())
            except TimeoutError:
                quic.handle_timer(now=time.monotonic())
            while event := quic.next_event():
                if isinstance(event, HandshakeCompleted):
                    stream = quic.get_next_available_stream_id()
                    talk.send_headers(
                        stream, [(encoded(name), encoded(text)) for name, text in wanted], ends and not body
                    )
                    if body:
                        talk.send_data(stream, body, end_stream=ends)
                for told in talk.handle_event(event):
                    if isinstance(told, HeadersReceived):
                        got = {name.decode(): text.decode() for name, text in told.headers}
                    elif isinstance(told, DataReceived):
                        said += told.data
                    over = getattr(told, "stream_ended", False)
                    if over or (got and not ends):
                        return int(got[":status"]), got, said
                if isinstance(event, (ConnectionTerminated, QuicReset)):
                    return int(got[":status"]) if got else None, got, said
    raise TimeoutError("no answer over HTTP/3")


def encoded(text):
    return text if isinstance(text, bytes) else text.encode()
