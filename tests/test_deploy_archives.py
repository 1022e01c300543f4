"""Archives that were tampered with: nothing is run, and nothing lands where it should not."""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from boards import forged, packed, repacked

from prunekit.deploy import (
    BundleError,
    Settings,
    TargetError,
    ToolError,
    archives,
    run,
    targets,
    unpack,
)
from prunekit.deploy import manifest as manifests

for package in ("onnxscript", "onnxruntime", "executorch"):
    pytest.importorskip(package, reason="pip install prunekit[deploy]")


def with_member(archive: Path, path: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    """A copy of a bundle with one member more."""
    member.size = len(content)
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    added = member.tobuf(tarfile.USTAR_FORMAT) + content + padding
    path.write_bytes(gzip.compress(added + gzip.decompress(archive.read_bytes()), 1))
    return path


def test_wrong_outputs_are_reported_as_such(files, manifest, tmp_path):
    name = "expected/plain-fp32.onnx.f32"
    files[name] = (np.frombuffer(files[name], "<f4") + 1).astype("<f4").tobytes()
    changed = forged(files, manifest, tmp_path / "changed.tar.gz")
    result = run(changed, settings=Settings("python", only="plain-fp32", repeats=1, warmup=0))
    assert result["models"][0]["correct"] is False
    assert result["models"][0]["max_error"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("change", [lambda c: c + b"x", lambda c: b"x" + c[1:]])
def test_changed_file_is_named(change, archive, files, tmp_path):
    place, _ = unpack(archive, tmp_path)
    (place / "images.f32").write_bytes(change(files["images.f32"]))
    changed = repacked(place, tmp_path / "changed.tar.gz")
    with pytest.raises(BundleError, match=r"changed\.tar\.gz .*images\.f32 changed"):
        run(changed)
    done = subprocess.run([sys.executable, "run.py"], cwd=place, capture_output=True, text=True)
    assert done.returncode and "images.f32 is missing or changed" in done.stderr


def test_what_is_no_bundle_is_refused(archive, tmp_path):
    half = tmp_path / "half.tar.gz"
    half.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(BundleError, match=r"half\.tar\.gz is damaged"):
        run(half)
    plain = tmp_path / "plain.tar"
    plain.write_bytes(gzip.decompress(archive.read_bytes()))
    with pytest.raises(BundleError, match=r"plain\.tar .*[Nn]ot a gzipped file"):
        run(plain)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        run(tmp_path / "none.tar.gz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        run(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "/evil", "bundle/../../evil", "evil", "bundle/evil", "bundle/./run.py"),
        *("bundle/onnxruntime.py", "bundle//evil", "bundle/models/evil.so", "bundle/bin/evil"),
    ],
)
def test_file_that_is_not_listed_is_refused(name, archive, tmp_path):
    bad = with_member(archive, tmp_path / "bad.tar.gz", tarfile.TarInfo(name), b"evil")
    with pytest.raises(BundleError, match=r"bad\.tar\.gz is damaged or no bundle: it holds "):
        run(bad)
    with pytest.raises(BundleError, match="it holds "):
        unpack(bad, tmp_path / "folder")
    assert not (tmp_path / "folder").exists() and not (tmp_path / "evil").exists()


def test_listing_a_file_does_not_make_it_one_of_a_bundle(files, manifest, tmp_path):
    manifest["files"]["onnxruntime.py"] = "0" * 64
    text = json.dumps(manifest).encode()
    files |= {"manifest.json": text, "onnxruntime.py": b"print('evil')"}
    with pytest.raises(BundleError, match=r"lists onnxruntime\.py, which is no file of a bundle"):
        run(packed(files, tmp_path / "bad.tar.gz"))


@pytest.mark.parametrize(
    "kind",
    [
        *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
        *(tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"),
    ],
)
@pytest.mark.parametrize("name", ["bundle/link", "bundle/run.py"])
def test_what_is_no_plain_file_is_refused(kind, name, archive, tmp_path):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    bad = with_member(archive, tmp_path / "bad.tar.gz", member)
    with pytest.raises(BundleError, match=rf"it holds '{name}'"):
        unpack(bad, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_file_that_is_there_twice_is_refused(archive, files, tmp_path):
    again = tarfile.TarInfo("bundle/run.py")
    bad = with_member(archive, tmp_path / "bad.tar.gz", again, files["run.py"])
    with pytest.raises(BundleError, match=r"it holds 'run\.py' twice"):
        unpack(bad, tmp_path / "folder")


def test_folder_of_no_file_is_refused(archive, tmp_path):
    member = tarfile.TarInfo("bundle/onnxruntime")
    member.type = tarfile.DIRTYPE
    bad = with_member(archive, tmp_path / "bad.tar.gz", member)
    with pytest.raises(BundleError, match="the folder 'onnxruntime', which is no file's"):
        unpack(bad, tmp_path / "folder")


@pytest.mark.parametrize("name", ["run.py", "images.f32", "SHA256SUMS", "manifest.json"])
def test_file_that_is_missing_is_named(name, files, tmp_path):
    del files[name]
    with pytest.raises(BundleError, match=f"it has no .*{name}"):
        unpack(packed(files, tmp_path / "bad.tar.gz"), tmp_path / "folder")


@pytest.mark.parametrize("name", [*manifests.SCRIPTS, "README.md", "plan.txt"])
def test_program_of_another_version_is_refused_with_the_remedy(name, files, manifest, tmp_path):
    files[name] = files[name].replace(b"e", b"a")
    manifest["files"][name] = hashlib.sha256(files[name]).hexdigest()
    text = json.dumps(manifest).encode()
    files |= {"manifest.json": text, "SHA256SUMS": manifests.digests(manifest, text)}
    other = packed(files, tmp_path / "other.tar.gz")
    with pytest.raises(BundleError, match=rf"{name} is not what prunekit [\d.]+ writes: bundle ag"):
        run(other)


def test_older_bundle_is_replaced_and_another_folder_is_not(archive, tmp_path):
    place, _ = unpack(archive, tmp_path / "a")
    (place / "onnxruntime.py").write_text("left from another bundle")
    place, manifest = unpack(archive, tmp_path / "a")
    present = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert present == {*manifest["files"], "manifest.json", "SHA256SUMS"}
    assert list((tmp_path / "a").iterdir()) == [place]
    mine = tmp_path / "b" / "bundle" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(BundleError, match="is there and no bundle"):
        unpack(archive, tmp_path / "b")
    assert mine.read_text() == "mine"


def native(files: dict[str, bytes], manifest: dict, machine: str, path: Path) -> Path:
    """A bundle with a native runner of nobody's for a machine."""
    manifest |= {"machines": [machine], "glibc": {machine: "2.31"}}
    names = ["runner", *(f"lib/lib{name}.so" for name in manifests.LIBRARIES)]
    return forged(files | {f"bin/{machine}/{n}": b"evil" for n in names}, manifest, path)


@pytest.mark.parametrize("target", ["local", "emulated"])
def test_native_runner_of_another_build_is_refused(target, files, manifest, tmp_path, monkeypatch):
    built = tmp_path / "built"
    for name in ("runner", *(f"lib/lib{name}.so" for name in manifests.LIBRARIES)):
        (built / name).parent.mkdir(parents=True, exist_ok=True)
        (built / name).write_bytes(b"the library's own")
    monkeypatch.setattr(targets, "build_runner", lambda machine: built)
    monkeypatch.setattr(targets.platform, "machine", lambda: "aarch64")
    bad = native(files, manifest, "aarch64", tmp_path / "bad.tar.gz")
    with pytest.raises(
        TargetError, match=r"bin/aarch64/.* is not what prunekit .* build here: bun"
    ):
        run(bad, target)


def test_native_runner_that_cannot_be_compared_is_refused(files, manifest, tmp_path, monkeypatch):
    def none(machine):
        raise ToolError("g++ is not installed")

    monkeypatch.setattr(targets, "build_runner", none)
    monkeypatch.setattr(targets.platform, "machine", lambda: "aarch64")
    bad = native(files, manifest, "aarch64", tmp_path / "bad.tar.gz")
    with pytest.raises(TargetError, match=r"cannot be compared .*g\+\+ is not installed"):
        run(bad)


def bomb(header: tarfile.TarInfo, megabytes: int, path: Path) -> Path:
    """A member of so many zeros, which gzip makes a thousandth of."""
    with gzip.open(path, "wb", 1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_header_that_fills_memory_is_refused(kind, tmp_path):
    header = tarfile.TarInfo("bundle/manifest.json")
    header.type, header.size = kind, 512 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="its headers have more than"):
        unpack(bomb(header, 512, tmp_path / "bomb.tar.gz"), tmp_path / "folder")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert not (tmp_path / "folder").exists()


def test_headers_before_headers_are_refused(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 512
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress((header.tobuf() + bytes(512)) * 3000))
    with pytest.raises(BundleError, match=r"bomb\.tar\.gz is damaged"):
        unpack(path, tmp_path / "folder")


@pytest.mark.parametrize("size", [-512, (1 << 30) + 1, 1 << 60])
@pytest.mark.parametrize("name", ["manifest.json", "images.f32"])
def test_size_out_of_bounds_is_refused(name, size, tmp_path):
    header = tarfile.TarInfo(f"bundle/{name}")
    header.size = size
    text = header.tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(gzip.compress(text + bytes(1024)))
    with pytest.raises(BundleError, match=r"bad\.tar\.gz is damaged"):
        unpack(path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_size_that_the_manifest_does_not_give_is_refused_unread(files, tmp_path):
    """Content of a thousand times its size in the archive never reaches the disk."""
    files["models/plain-fp32.onnx"] = bytes(200 << 20)
    bad = packed(files, tmp_path / "bad.tar.gz")
    assert bad.stat().st_size < 2 << 20
    with pytest.raises(BundleError, match=r"models/plain-fp32\.onnx changed"):
        unpack(bad, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_number_and_total_of_files_are_limited(archive, files, tmp_path, monkeypatch):
    many = {f"models/{i}": b"" for i in range(archives.MEMBERS)}
    with pytest.raises(BundleError, match="more than 1000 files"):
        unpack(packed(files | many, tmp_path / "many.tar.gz"), tmp_path / "folder")
    monkeypatch.setattr(manifests, "TOTAL_BYTES", sum(map(len, files.values())) - 1)
    with pytest.raises(BundleError, match="too much"):
        unpack(archive, tmp_path / "folder")


def test_disk_without_room_is_said_before_anything_is_written(archive, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(BundleError, match="has no room for"):
        unpack(archive, tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())
