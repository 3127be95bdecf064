"""Ports for servers that are stopped and started again while others go on connecting to them."""

import secrets
import socket

# Below the ports that Linux and macOS give to outgoing connections: nobody comes by one of these by chance while the
# server is down, not even a client that would then be connected to itself.
LOWEST, HIGHEST = 15_000, 30_000


def lasting_port() -> int:
    """A port of this machine that is free now and not given to others by the system."""
    while True:
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
