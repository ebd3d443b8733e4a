"""The list of all messages for people: what can be printed is in it, docstrings and sample data are not."""

import pytest

from scripts.messages import messages

pytestmark = pytest.mark.e2e  # not by what it uses: it parses every file


@pytest.fixture(scope="module")
def listed() -> set[tuple[str, str]]:
    return {(message.path, message.text) for message in messages()}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("referral_fn/cli/replay.py", "--yes needs --requeue, which puts rejects back, or --remove-leftovers"),
        ("referral_fn/cli/output.py", "Failed: {…}"),
        ("referral_fn/api/problems.py", "Partner Center has no such referral"),
        ("local_stack/demo/page.js", "Awaiting redelivery"),
        ("local_stack/demo/index.html", "Send a referral"),
        ("tests/contracts/test_contracts.py", "run `make schemas`"),
    ],
)
def test_messages_of_every_kind_of_program_are_listed(listed: set[tuple[str, str]], path: str, text: str) -> None:
    assert (path, text) in listed


def test_docstrings_and_sample_data_are_not_listed(listed: set[tuple[str, str]]) -> None:
    assert not [path for path, _ in listed if "stand_ins/referrals.py" in path]
    assert not [text for _, text in listed if "listed or put back on the requests queue." in text]
