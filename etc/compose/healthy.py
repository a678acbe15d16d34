#!/opt/pooler/bin/python
"""HEALTHCHECK of the image: a worker takes a connection and answers whether it speaks TLS.

`healthy [PORT]`: on the loopback address, 6432 if no other is named here or in POOLER_PORT.
"""

import os
import socket
import sys

SSL_REQUEST = bytes.fromhex("00000008 04d2162f")


def main() -> int:
    port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("POOLER_PORT", "6432"))
    try:
        with socket.create_connection(("127.0.0.1", port), 3) as connection:
            connection.sendall(SSL_REQUEST)
            answer = connection.recv(1)
    except OSError as error:
        answer = str(error).encode()
    if answer not in (b"S", b"N"):
        sys.stderr.write(f"no answer on port {port}: {answer.decode()}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
