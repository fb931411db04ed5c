"""What a server does not keep to is left out for a while, of the profile that has met it."""

from dataclasses import replace

from app.domain.types import TlsMode
from app.smtp.extensions import DISTRUST_SECONDS, Distrust, Extension, Extensions
from app.smtp.identity import Identity

MAIN = Identity(profile_id="prf_1", host="mx.example.com", port=587, tls=TlsMode.STARTTLS)


def test_what_was_refused_is_left_out_for_an_hour() -> None:
    """It is news once; after that time the server is asked again."""
    moment = 1000.0
    distrust = Distrust(lambda: moment)
    assert distrust.add(MAIN, {Extension.CHUNKING})
    assert not distrust.add(MAIN, {Extension.CHUNKING})
    moment += DISTRUST_SECONDS / 2
    assert distrust.add(MAIN, {Extension.CHUNKING, Extension.DSN})
    assert distrust.get(MAIN) == {Extension.CHUNKING, Extension.DSN}
    moment += DISTRUST_SECONDS / 2
    assert distrust.get(MAIN) == {Extension.DSN}
    assert distrust.add(MAIN, {Extension.CHUNKING})


def test_each_profile_learns_for_itself() -> None:
    """And of each server anew; another login is the same server."""
    distrust = Distrust()
    distrust.add(MAIN, {Extension.DSN})
    for other in ({"profile_id": "prf_2"}, {"host": "mx2.example.com"}, {"port": 25}):
        assert distrust.get(replace(MAIN, **other)) == frozenset()
    assert distrust.get(replace(MAIN, username="ann")) == {Extension.DSN}


def test_every_extension_can_be_left_out() -> None:
    """All that a server says is then as if it had not."""
    offered = ("pipelining", "chunking", "size", "8bitmime", "dsn")
    extensions = Extensions.from_ehlo(dict.fromkeys(offered, "")).without(set(Extension))
    assert not any(getattr(extensions, extension.value) for extension in Extension)
    assert extensions.eight_bit
