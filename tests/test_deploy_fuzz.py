"""Bundles and answers with something wrong in them: one clear error, or a right result."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import pytest
from boards import forged, mutated, packed

from prunekit.deploy import BundleError, Settings, TargetError, run, unpack
from prunekit.deploy import manifest as manifests

for package in ("onnxscript", "onnxruntime", "executorch"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")
ONCE = Settings("python", repeats=2, warmup=0)


def is_valid(manifest: object) -> bool:
    try:
        manifests.check(manifest)
    except ValueError:
        return False
    return True


def test_mutated_manifests_are_refused_or_right(files, manifest, tmp_path):
    chance = random.Random(0)
    accepted, refused = [], 0
    for number in range(700):
        mutant = manifest
        for _ in range(chance.choice((1, 1, 2))):
            mutant = mutated(mutant, chance)
        if is_valid(mutant):
            path = forged(files, mutant, tmp_path / "valid.tar.gz")
        else:
            text = json.dumps(mutant).encode()
            path = packed(files | {"manifest.json": text}, tmp_path / "mutant.tar.gz")
        try:
            place, read = unpack(path, tmp_path / "unpacked")
        except BundleError as error:
            assert str(path) in str(error), number
            refused += 1
            continue
        assert path.name == "valid.tar.gz"
        accepted.append(mutant)
        assert read | {"files": {}} == mutant | {"files": {}}
        assert {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()} == {
            *read["files"],
            *("manifest.json", "SHA256SUMS"),
        }
    assert refused > 500 and accepted
    labelled = [m for m in accepted if m["labels"] not in (None, manifest["labels"])]
    result = run(forged(files, labelled[0], tmp_path / "labelled.tar.gz"), settings=ONCE)
    same = sum(a == b for a, b in zip(labelled[0]["labels"], manifest["labels"], strict=True))
    assert result["models"][0]["accuracy"] == same / len(manifest["labels"])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1e999",
        b"\xff\xfe{",
        b"\xef\xbb\xbf{}",
        b'{"format": 2, "format": 2}',
        b'{"format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"format": ' + b"9" * 5000 + b"}",
        b'{"format": 1}',
        b'{"format": true}',
        '{"format": 2, "created": "\ud800"}'.encode("utf-8", "surrogatepass"),
        b" " * (manifests.MANIFEST_BYTES + 1),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_manifest_is_refused(text, files, tmp_path):
    path = packed(files | {"manifest.json": text}, tmp_path / "bad.tar.gz")
    with pytest.raises(BundleError, match=r"bad\.tar\.gz"):
        unpack(path, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_flipped_and_lost_bytes_are_found(archive, manifest, tmp_path):
    chance = random.Random(0)
    whole = archive.read_bytes()
    inside = gzip.decompress(whole)
    headers = [at for at in range(0, len(inside), 512) if inside[at + 257 : at + 262] == b"ustar"]
    path = tmp_path / "flipped.tar.gz"
    refused = 0
    for number in range(600):
        damaged = bytearray(inside if number % 2 else whole)
        place = chance.randrange(len(damaged))
        if number % 2:
            # In a header, whose checksum is made to agree.
            start = chance.choice(headers)
            place = start + chance.choice((chance.randrange(257), chance.randrange(124, 136), 156))
            damaged[place] = chance.randrange(256)
            header = damaged[start : start + 512]
            total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
            damaged[start + 148 : start + 156] = b"%06o\0 " % total
            damaged = gzip.compress(damaged, 1)
        elif chance.random() < 0.2:
            del damaged[place:]
        else:
            damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            assert unpack(path, tmp_path / "unpacked")[1] == manifest
        except BundleError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 300


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """Runs a bundle with a program in place of Python, which answers what it is given."""
    program, said = tmp_path / "python", tmp_path / "answer.json"
    program.write_text(f"#!/bin/sh\nexec cat {said}\n")
    program.chmod(0o755)

    def answer(archive: Path, text: bytes, settings: Settings = ONCE) -> dict:
        said.write_bytes(text)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(program))
            return run(archive, settings=settings)

    return answer


def test_mutated_answers_are_refused_or_right(archive, answering):
    answer = run(archive, settings=ONCE)
    honest = {name: answer[name] for name in answer if name not in ("target", "core")}
    assert answering(archive, json.dumps(honest).encode()) == answer
    chance = random.Random(0)
    refused = 0
    for number in range(400):
        mutant = mutated(honest, chance)
        try:
            result = answering(archive, json.dumps(mutant).encode())
        except BundleError as error:
            assert "local: the runner's answer" in str(error), number
            refused += 1
            continue
        assert [m["name"] for m in result["models"]] == ["plain-fp32", "plain-int8"]
        for model in result["models"]:
            assert model["correct"] == (model["max_error"] <= model["tolerance"])
            assert 0 <= model["min_ms"] <= model["median_ms"] <= model["p95_ms"] < 1e9
    assert refused > 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Expecting value"),
        (b"Welcome to this board!\n{}", "Expecting value"),
        (b'{"runner": NaN}', "NaN"),
        (b"\xff", "utf-8"),
        (b"[" * 100_000, "nested"),
        (b"{}", r"answer\.runner is missing"),
        (b'{"runner": "executorch"}', r"answer\.runner must be 'onnxruntime'"),
        (b" " * (5 << 20), "more than 4,194,304 bytes"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_answer_is_refused(text, message, archive, answering):
    with pytest.raises(TargetError, match=rf"(?s)local: the runner.*{message}"):
        answering(archive, text)


def test_answer_for_other_models_or_settings_is_refused(archive, answering):
    answer = run(archive, settings=ONCE)
    honest = {name: answer[name] for name in answer if name not in ("target", "core")}
    text = json.dumps(honest).encode()
    with pytest.raises(TargetError, match=r"answer\.models must be a list of 1 items"):
        answering(archive, text, Settings("python", "plain-fp32", repeats=2, warmup=0))
    with pytest.raises(TargetError, match=r"answer\.threads must be 4, not 1"):
        answering(archive, text, Settings("python", threads=4, repeats=2, warmup=0))


def test_scores_that_are_no_numbers_are_reported_as_wrong(archive, answering):
    answer = run(archive, settings=ONCE)
    honest = {name: answer[name] for name in answer if name not in ("target", "core")}
    honest["models"][0] |= {"correct": False, "max_error": None}
    result = answering(archive, json.dumps(honest).encode())
    assert result["models"][0]["correct"] is False
    honest["models"][0]["correct"] = True
    with pytest.raises(TargetError, match="plain-fp32 is correct with an error of None"):
        answering(archive, json.dumps(honest).encode())
