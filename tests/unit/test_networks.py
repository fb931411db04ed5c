"""Where the operator lets connections go."""

import ipaddress

import pytest

from app.settings.model import Settings

HERE = "HELOISE_ALLOWED_NETWORKS"
NOWHERE = "HELOISE_DENIED_NETWORKS"


@pytest.mark.parametrize(
    ("values", "address", "named"),
    [
        ({}, "192.0.43.8", None),
        ({}, "10.1.2.3", HERE),
        ({"allow_private_hosts": True}, "10.1.2.3", None),
        ({"allowed_networks": "10.0.0.0/8"}, "10.1.2.3", None),
        ({"allowed_networks": "10.0.0.0/8"}, "::ffff:10.1.2.3", None),
        ({"allowed_networks": "10.0.0.0/8"}, "64:ff9b::a01:203", None),
        ({"allowed_networks": "10.0.0.0/8"}, "192.168.1.1", HERE),
        ({"allowed_networks": "10.1.2.3, fd00::/8"}, "10.1.2.3", None),
        ({"allowed_networks": "10.1.2.3, fd00::/8"}, "10.1.2.4", HERE),
        ({"allowed_networks": "10.1.2.3, fd00::/8"}, "fd12::1", None),
        ({"denied_networks": "192.0.43.0/24"}, "192.0.43.8", NOWHERE),
        ({"denied_networks": "192.0.43.0/24"}, "::ffff:192.0.43.8", NOWHERE),
        ({"denied_networks": "::ffff:0:0/96"}, "::ffff:192.0.43.8", NOWHERE),
        (
            {"denied_networks": "169.254.0.0/16", "allow_private_hosts": True},
            "169.254.169.254",
            NOWHERE,
        ),
        (
            {"denied_networks": "10.1.0.0/16", "allowed_networks": "10.0.0.0/8"},
            "10.1.2.3",
            NOWHERE,
        ),
        ({"denied_networks": "10.1.0.0/16", "allowed_networks": "10.0.0.0/8"}, "10.2.2.3", None),
    ],
)
def test_denied_before_allowed_before_public(
    values: dict[str, object], address: str, named: str | None
) -> None:
    """An address inside another is judged itself; who is refused reads which setting it was."""
    reason = Settings(**values).build_guard().address_refusal(ipaddress.ip_address(address))
    assert (reason is None) is (named is None)
    assert named is None or named in (reason or "")


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "::ffff:a9fe:a9fe"],
)
def test_a_clouds_own_addresses_are_opened_by_name_alone(address: str) -> None:
    """Who allows private mail servers has not thought of the metadata service."""
    wide = Settings(allow_private_hosts=True, allowed_networks="0.0.0.0/0,168.63.0.0/16,fd00::/8")
    reason = wide.build_guard().address_refusal(ipaddress.ip_address(address))
    assert HERE in (reason or "")
    by_name = Settings(allowed_networks=f"{address},169.254.169.254")
    assert by_name.build_guard().address_refusal(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize("host", ["localhost", "mail.localhost", "127.0.0.1", "::1"])
def test_this_machine_is_known_by_its_names(host: str) -> None:
    """Without a lookup (RFC 6761 section 6.3)."""
    assert Settings().build_guard().host_refusal(host) is not None
    assert Settings(allowed_networks="127.0.0.0/8,::1").build_guard().host_refusal(host) is None
    denied = Settings(allow_private_hosts=True, denied_networks="127.0.0.0/8,::1")
    assert denied.build_guard().host_refusal(host) is not None


@pytest.mark.parametrize("host", ["mx.example.com", "10.0.0.1.example.com"])
def test_a_name_is_judged_once_it_is_looked_up(host: str) -> None:
    """It changes its mind."""
    assert Settings().build_guard().host_refusal(host) is None
