"""A push service (RFC 8030): it checks who sends (RFC 8292), and a browser opens what is passed on to it.

A browser decrypts by itself what RFC 8291 says, with its private key; nothing of the library that encrypts is used.
"""

import base64
import json
import os
import struct
from dataclasses import dataclass, field
from functools import cached_property

import jwt
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.providers.wire import Provider, Request, Says


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _mac(key: bytes, data: bytes) -> bytes:
    made = hmac.HMAC(key, hashes.SHA256())
    made.update(data)
    return made.finalize()


@dataclass
class Browser:
    """One browser that subscribed. `tray` are its notifications by tag, `alerts` how often one came anew."""

    name: str
    tray: dict[str, dict[str, str]] = field(default_factory=dict)
    alerts: int = 0
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    @cached_property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    def subscription(self, service: str) -> dict[str, object]:
        """What its Push API hands out."""
        keys = {"p256dh": base64url(_point(self.private_key.public_key())), "auth": base64url(self.auth)}
        return {"endpoint": f"{service}/push/{self.name}", "expirationTime": None, "keys": keys}

    def opened(self, body: bytes) -> bytes:
        """Decrypt one record of aes128gcm."""
        salt, size, id_length = body[:16], *struct.unpack("!LB", body[16:21])
        sender, sealed = body[21 : 21 + id_length], body[21 + id_length :]
        assert len(sealed) <= size
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self.private_key.exchange(ec.ECDH(), theirs)
        info = b"WebPush: info\0" + _point(self.private_key.public_key()) + sender + b"\x01"
        secret = _mac(salt, _mac(_mac(self.auth, shared), info))
        key = _mac(secret, b"Content-Encoding: aes128gcm\0\x01")[:16]
        nonce = _mac(secret, b"Content-Encoding: nonce\0\x01")[:12]
        padded = AESGCM(key).decrypt(nonce, sealed, None)
        return padded.rstrip(b"\0").removesuffix(b"\x02")

    def receive(self, body: bytes) -> None:
        """Show a message as our service worker does: the same tag takes the place of what is shown."""
        message = json.loads(self.opened(body))
        self.alerts += message["actionId"] not in self.tray
        self.tray[message["actionId"]] = message


class PushService(Provider):
    """Passes messages on to `browsers`, by name; one that is not there any more is 410, as is one of `gone`."""

    def __init__(self) -> None:
        super().__init__()
        self.browsers: dict[str, Browser] = {}
        self.gone: dict[str, int] = {}

    def joined(self, name: str) -> Browser:
        self.browsers[name] = Browser(name)
        return self.browsers[name]

    def claims(self, request: Request) -> dict[str, object]:
        """Who says that they send, once their signature is checked."""
        given = request.headers["authorization"].removeprefix("vapid ")
        token, key = (part.partition("=")[2] for part in given.split(","))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(key))
        claims: dict[str, object] = jwt.decode(token, public, algorithms=["ES256"], audience=self.url)
        return claims

    def take(self, request: Request) -> Says:
        try:
            self.claims(request)
        except (jwt.InvalidTokenError, KeyError, ValueError):
            return Says(403, b"bad VAPID")
        name = request.path.rpartition("/")[2]
        if name in self.gone or name not in self.browsers:
            return Says(self.gone.get(name, 410))
        if "ttl" not in request.headers or len(request.body) > 4096:
            return Says(400)
        self.browsers[name].receive(request.body)
        return Says(201, headers={"Location": f"{self.url}/m/1"})
