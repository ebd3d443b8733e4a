"""That the fuzzers find what they are for: a fuzzer that finds nothing proves nothing."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from endurance import der, fuzzing
from endurance.fuzz_targets import Target, targets
from endurance.fuzzing import Result, fuzz
from endurance.lines import Lines
from endurance.mutation import mutate_bytes, mutate_json, mutate_message, split_message
from local_stack.stand_ins.signing import Identity
from referral_fn import strict_json
from referral_fn.timestamps import read_utc

pytestmark = pytest.mark.e2e  # not by what they use: each runs the fuzzers


@pytest.fixture
def lines() -> Iterator[Lines]:
    counted = Lines()
    yield counted
    counted.close()


def rng() -> random.Random:
    return random.Random(1)  # noqa: S311 - not for secrets


def fuzzed(lines: Lines, run: Callable[[bytes], str], inputs: int = 1500) -> Result:
    return fuzz(Target("planted", [b'{"a": "b"}'], mutate_json, run), inputs, rng(), lines)


def test_an_error_that_only_a_chain_of_new_inputs_reaches_is_found(lines: Lines) -> None:
    def run(data: bytes) -> str:
        levels = data.count(b"[")
        if levels >= 12 and b"\\u0000" in data:
            raise KeyError("planted")
        return f"{min(levels, 12)} {b'u0000' in data}"

    (defect,) = fuzzed(lines, run).defects.values()
    assert defect.kind.startswith("KeyError")
    with pytest.raises(KeyError):
        run(defect.data)


def test_a_run_can_be_repeated_by_its_seed(lines: Lines) -> None:
    inputs: list[list[bytes]] = [[], []]
    for seen in inputs:
        fuzzed(lines, lambda data, seen=seen: str(seen.append(data)), 200)  # type: ignore[misc]
    assert len(inputs[0]) == 200
    assert inputs[0] == inputs[1]


def test_an_input_that_takes_too_long_is_a_defect(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MAX_SECONDS", -1)
    (defect,) = fuzzed(lines, lambda _: "accepted", 5).defects.values()
    assert (defect.kind, defect.count) == ("SlowInputError at ?", 5)


def test_the_same_error_is_one_defect_with_its_shortest_input(lines: Lines) -> None:
    def run(data: bytes) -> str:
        raise IndexError(data[:1])

    result = fuzzed(lines, run, 50)
    (defect,) = result.defects.values()
    assert defect.count == 50
    assert len(defect.data) < len(b'{"a": "b"}')


def test_lines_are_counted_when_they_run_for_the_first_time(lines: Lines) -> None:
    def read(data: bytes) -> object:
        return read_utc(data.decode())

    lines.run(read, b"2018-02-17T00:05:39Z")
    first = lines.count
    lines.run(read, b"2018-02-17T00:05:39Z")
    assert lines.count == first > 0
    with pytest.raises(ValueError, match="time"):
        lines.run(read, b"no time")
    assert lines.count > first


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_every_target_accepts_its_seeds(target: Target) -> None:
    assert sum("accepted" in target.run(seed) for seed in target.seeds) > len(target.seeds) / 3


def test_every_target_reads_mutated_inputs_without_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzzing", "-n", "400", "--seed", "1", "--jobs", "1"])
    assert fuzzing.main() == 0
    output = capsys.readouterr().out
    assert all(target.name in output for target in targets())


def test_a_defect_ends_in_status_1_with_an_input_to_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(data: bytes) -> str:
        return str(1 // len(data))

    planted = Target("planted", [b"1"], lambda *_: b"", run)
    monkeypatch.setattr(fuzzing, "targets", lambda: [planted])
    monkeypatch.setattr(sys, "argv", ["fuzzing", "-n", "10", "--jobs", "1", "--folder", str(tmp_path)])
    assert fuzzing.main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fuzzing", "--target", "planted", "--input", str(tmp_path / "planted-1")])
    with pytest.raises(ZeroDivisionError):
        fuzzing.main()


def test_mutated_documents_are_mostly_json_and_all_different() -> None:
    source, document = rng(), strict_json.dumps({"a": {"b": [1, "two", None]}, "c": "d" * 40})
    mutated = [mutate_json(source, document, [document]) for _ in range(500)]
    assert len(set(mutated)) > 200
    assert sum(is_json(data) for data in mutated) > 400


def is_json(data: bytes) -> bool:
    try:
        strict_json.loads(data)
    except strict_json.InvalidJSONError:
        return False
    return True


def test_mutated_messages_keep_their_form() -> None:
    source, message = rng(), b'a: 1\nb: 2\n\n{"c": 3}'
    assert split_message(message) == ({"a": "1", "b": "2"}, b'{"c": 3}')
    assert split_message(b"a: 1\nA: 2\n\n")[0] == {"a": "1, 2"}
    mutated = [mutate_message(source, message, [message]) for _ in range(500)]
    assert sum(b"\n\n" in data for data in mutated) > 450
    assert len(set(mutated)) > 150


def test_mutations_of_bytes_do_not_grow_without_end() -> None:
    source, data = rng(), b"start"
    for _ in range(3000):
        data = mutate_bytes(source, data, [data])
    assert len(data) <= 64 * 1024


class TestDer:
    """Certificates as trees."""

    KEY = ec.generate_private_key(ec.SECP256R1())

    @pytest.fixture
    def certificate(self) -> Identity:
        return Identity.authority(key=self.KEY)

    def test_a_certificate_survives_being_parsed(self, certificate: Identity) -> None:
        parsed = der.parse(certificate.der)
        assert parsed
        assert b"".join(element.encode() for element in parsed) == certificate.der

    def test_a_signed_certificate_verifies(self, certificate: Identity) -> None:
        parsed = der.parse(certificate.der)
        assert parsed
        again = x509.load_der_x509_certificate(der.sign(parsed[0].children[0].encode(), self.KEY))
        again.verify_directly_issued_by(certificate.certificate)

    def test_mutated_certificates_are_often_certificates(self, certificate: Identity) -> None:
        source = rng()
        mutated = [der.mutate_certificate(source, certificate.der, [certificate.der], self.KEY) for _ in range(300)]
        readable = 0
        for data in mutated:
            try:
                x509.load_der_x509_certificate(data)
            except ValueError:
                continue
            readable += 1
        assert readable > 50

    @pytest.mark.parametrize("data", [b"\x30", b"\x30\x80", b"\x30\x05\x01", b"\x30\x84\xff\xff\xff\xff", b"\x30\x81"])
    def test_what_is_no_der_is_not_parsed(self, data: bytes) -> None:
        assert der.parse(data) is None
        assert der.split(data) == [data]

    def test_a_series_is_split(self, certificate: Identity) -> None:
        assert der.split(certificate.der * 2) == [certificate.der] * 2
