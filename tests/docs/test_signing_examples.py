"""The three signing examples compute the signature that docs/requests.md prints, and so does the service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.auth.signature import SIGNATURE_HEADER, sign_request

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "docs" / "examples"
PAGE = (REPOSITORY / "docs" / "requests.md").read_text()
SECRET = "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899"
TIMESTAMP, NONCE = "1767225600000", "0123456789abcdef"
METHOD, TARGET = "POST", "/v1/ethereum/orders/test"
BODY = '{"market":"ETHUSDC","side":"sell","base_amount":"0.25"}'

PYTHON = """
import sys
sys.path.insert(0, sys.argv[1])
from request import sign
s, t, n, m, p, b = sys.argv[2:]
print(sign(s, timestamp=t, nonce=n, method=m, target=p, body=b.encode()))
"""
NODE = """
import(process.argv[1] + "/request.mjs").then(({ sign }) => {
  const [secret, timestamp, nonce, method, target, body] = process.argv.slice(2);
  console.log(sign(secret, { timestamp, nonce, method, target, body }));
});
"""
BASH = '. "$0/request.sh"; sign "$@"'

COMMANDS = {
    "python": [sys.executable, "-c", PYTHON],
    "bash": ["bash", "-c", BASH],
    "node": ["node", "-e", NODE],
}


def printed() -> str:
    """The signature that the page shows."""
    match = re.search(r"and its signature is\n\n```text\n([0-9a-f]{64})\n```", PAGE)
    assert match is not None
    return match[1]


def test_the_page_shows_the_inputs_of_its_own_signature() -> None:
    for part in (SECRET, TIMESTAMP, NONCE, f"{METHOD}\n{TARGET}\n", BODY):
        assert part in PAGE


def test_the_service_computes_the_signature_of_the_page() -> None:
    headers = sign_request(
        "ck_0",
        SECRET.encode(),
        method=METHOD,
        target=TARGET,
        body=BODY.encode(),
        timestamp_ms=int(TIMESTAMP),
        nonce=NONCE,
    )
    assert headers[SIGNATURE_HEADER] == printed()


@pytest.mark.parametrize(
    "language",
    ["python", "bash", pytest.param("node", marks=pytest.mark.skipif(shutil.which("node") is None, reason="no node"))],
)
def test_an_example_computes_the_signature_of_the_page(language: str) -> None:
    words = [*COMMANDS[language], str(EXAMPLES), SECRET, TIMESTAMP, NONCE, METHOD, TARGET, BODY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=150, check=True)
    assert done.stdout.strip() == printed()
