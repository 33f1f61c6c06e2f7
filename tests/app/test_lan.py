"""How a room finds the page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vggviz.server.lan import lan_address, qr_code


def test_an_address_is_what_people_type() -> None:
    assert lan_address("192.0.2.7", 7860) == "http://192.0.2.7:7860"
    for host in ("fe80::7", "[fe80::7]"):
        assert lan_address(host, 80) == "http://[fe80::7]:80"
    host = lan_address("0.0.0.0", 7861).removeprefix("http://").removesuffix(":7861")
    assert host not in ("", "0.0.0.0", "127.0.0.1", "localhost")


def test_a_phone_reads_the_code_in_the_terminal() -> None:
    """OpenCV's reader reads it; a terminal's rows are two squares high, light on dark."""
    pytest.importorskip("segno", reason="needs the extra 'serve'")
    text = "http://192.168.178.42:7860"
    light = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    rows = [line for line in qr_code(text).splitlines() if line]
    squares = np.concatenate([np.array([light[c] for c in row]).T for row in rows])
    pixels = (np.kron(squares, np.ones((8, 8))) * 255).astype(np.uint8)
    found, _, _ = cv2.QRCodeDetector().detectAndDecode(pixels)
    assert found == text
