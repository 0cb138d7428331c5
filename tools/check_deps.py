"""The dependency policy, checked without a network.

Apart from the linters because it looks at what we take in rather than at what we write: licences, duplicates
and sources of crates, pinning of the Python and Node locks, a stated reason for each direct dependency, and
traces of a developer's machine in tracked files. What it allows is in ``deps_policy.toml``.

Run as ``python tools/check_deps.py`` from anywhere in the checkout; exits 1 and names each breach and its fix.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/" + "crates" + ".io-index"

# The bracketed letters keep these patterns from naming a host themselves.
REGISTRY_HOSTS = re.compile(
    r"registry[.](npm[j]s|yarn[p]kg)[.]|(?<![\w-])py[p]i[.]org/simple|pythonhoste[d][.]org|(static|index)[.]crate[s][.]io",
    re.I,
)
MACHINE_PATHS = re.compile(r"(?<![\w.$})~/-])/(?:root|work|Users/\w+|home/\w+)/(?=[\w.])")
BINARY_SUFFIXES = {".png", ".ico", ".gif", ".jpg", ".woff2", ".bin", ".eventstream", ".gz", ".zip"}


def main() -> int:
    """Run every check; print all breaches, not only the first."""
    policy = _toml("tools/deps_policy.toml")
    breaches = [
        *crate_breaches(policy),
        *python_lock_breaches(),
        *python_licence_breaches(policy),
        *node_lock_breaches(),
        *undocumented(),
        *machine_traces(policy),
    ]
    for breach in breaches:
        print(f"deps: {breach}", file=sys.stderr)
    if not breaches:
        print("deps: ok")
    return 1 if breaches else 0


def crate_breaches(policy: dict[str, Any]) -> Iterator[str]:
    """Licence, source and number of versions of every crate that the workspace can pull in on any platform."""
    command = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        yield f"cargo metadata failed (run `cargo fetch --locked` first): {result.stderr.strip()}"
        return
    allowed = set(policy["licences"]["allow"])
    exceptions = set(policy["licences"]["allow-exceptions"])
    lines: dict[str, set[str]] = defaultdict(set)
    for package in json.loads(result.stdout)["packages"]:
        name, version, source = package["name"], package["version"], package["source"]
        if source is None:
            if Path(package["manifest_path"]).is_relative_to(ROOT):
                continue
            yield f"crate {name}: a path outside the checkout; use a released version"
            continue
        if source != CRATES_IO:
            yield f"crate {name} {version}: comes from {source}; use a release on crates.io"
        lines[name].add(_compatibility_line(version))
        licence = package["license"]
        if not licence:
            yield f"crate {name} {version}: states no SPDX licence; replace it"
        elif not licence_allowed(licence, allowed, exceptions):
            yield f"crate {name} {version}: licence {licence!r} is not allowed by tools/deps_policy.toml"
    yield from _duplicates(lines, policy["duplicates"]["allow"])


def _duplicates(lines: dict[str, set[str]], allow: list[dict[str, str]]) -> Iterator[str]:
    excused = {entry["name"] for entry in allow}
    several = {name for name, versions in lines.items() if len(versions) > 1}
    for name in sorted(several - excused):
        versions = ", ".join(sorted(lines[name]))
        yield f"crate {name}: in Cargo.lock as {versions}; align the requirements or excuse it under [duplicates]"
    for name in sorted(excused - several):
        yield f"crate {name}: excused under [duplicates] but there is only one; remove the line"


def _compatibility_line(version: str) -> str:
    """The part of a version that cargo may not mix: ``1``, ``0.9``, ``0.0.3``."""
    major, minor, patch = version.split("+")[0].split("-")[0].split(".")[:3]
    if major != "0":
        return major
    return f"0.{minor}" if minor != "0" else f"0.0.{patch}"


def licence_allowed(expression: str, allowed: set[str], exceptions: set[str]) -> bool:
    """Whether an SPDX expression can be satisfied with allowed licences only; ``/`` is crates.io's old ``OR``.

    Grammar and precedence (``WITH`` over ``AND`` over ``OR``) are those of SPDX 2.3, annex D.
    """
    tokens: list[str] = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def disjunction() -> bool:
        satisfied = conjunction()
        while tokens and tokens[0].upper() == "OR":
            tokens.pop(0)
            satisfied = conjunction() or satisfied
        return satisfied

    def conjunction() -> bool:
        satisfied = term()
        while tokens and tokens[0].upper() == "AND":
            tokens.pop(0)
            satisfied = term() and satisfied
        return satisfied

    def take(expected: str = "") -> str:
        if not tokens or (expected and tokens[0] != expected):
            raise ValueError(expression)
        return tokens.pop(0)

    def term() -> bool:
        name = take()
        if name == "(":
            satisfied = disjunction()
            take(")")
            return satisfied
        satisfied = name in allowed
        if tokens and tokens[0].upper() == "WITH":
            take()
            satisfied = take() in exceptions and satisfied
        return satisfied

    try:
        return disjunction() and not tokens
    except ValueError:
        return False


def python_lock_breaches() -> Iterator[str]:
    """Every requirement pinned with a hash, no address anywhere, and the three locks of one mind."""
    pins: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        name = path.relative_to(ROOT)
        text = path.read_text()
        if re.search(r"://|^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b", text, re.M):
            yield f"{name}: holds an address; regenerate it with `make lock`"
        for requirement in re.sub(r"\\\n\s*", " ", text).splitlines():
            if not requirement.strip() or requirement.lstrip().startswith("#"):
                continue
            pinned = re.match(r"([\w.-]+)==(\S+)", requirement)
            if pinned is None:
                yield f"{name}: {requirement.split()[0]!r} is not pinned with ==; run `make lock`"
            elif "--hash=sha256:" not in requirement:
                yield f"{name}: {pinned[1]} has no hash; run `make lock`"
            else:
                pins[_normal(pinned[1])][path.name] = pinned[2]
    for package, versions in pins.items():
        if len(set(versions.values())) > 1:
            yield f"requirements: {package} is pinned differently: {versions}; run `make lock`"
    for package in _python_direct():
        if package not in pins:
            yield f"requirements: {package} of pyproject.toml is in no lock; run `make lock`"


def python_licence_breaches(policy: dict[str, Any]) -> Iterator[str]:
    """Licences of the runtime packages, as far as they are installed beside the running interpreter."""
    allowed = set(policy["licences"]["allow"])
    exceptions = set(policy["licences"]["allow-exceptions"])
    excused = {entry["name"]: entry["licence"] for entry in policy["licences"]["python"]["allow-weak-copyleft"]}
    lock = (ROOT / "requirements/runtime.txt").read_text()
    for package in re.findall(r"^([\w.-]+)==", lock, re.M):
        try:
            fields = metadata(package)
        except PackageNotFoundError:
            continue  # needed on another platform only
        stated = _python_licences(*(fields.get_all(f) for f in ("License-Expression", "Classifier", "License")))
        if excused.get(package) in stated:
            continue
        if not any(licence_allowed(licence, allowed, exceptions) for licence in stated):
            named = " / ".join(stated) or "not stated"
            yield f"package {package}: licence {named} is not allowed by tools/deps_policy.toml"


CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def _python_licences(
    expressions: list[str] | None, classifiers: list[str] | None, texts: list[str] | None
) -> list[str]:
    """SPDX names from the newest of the three fields in which a package may state its licence."""
    if expressions:
        return expressions
    names = [c.rsplit(" :: ", 1)[-1] for c in classifiers or [] if c.startswith("License :: OSI Approved :: ")]
    if names:
        return [CLASSIFIED.get(name, name) for name in names]
    first_lines = [text.splitlines()[0].strip() for text in texts or [] if text.strip()]
    return [CLASSIFIED.get(line, line) for line in first_lines]


def node_lock_breaches() -> Iterator[str]:
    """Every package with an integrity hash and none with an address."""
    for path in _tracked():
        if path.name != "package-lock.json":
            continue
        name = path.relative_to(ROOT)
        for key, package in json.loads(path.read_text())["packages"].items():
            if "resolved" in package:
                yield f"{name}: {key} has a `resolved` address; run `make lock` with the folder's .npmrc"
            if key and not package.get("link") and "integrity" not in package:
                yield f"{name}: {key} has no integrity hash; run `make lock`"


def undocumented() -> Iterator[str]:
    """Direct dependencies without a row in CONTRIBUTING.md, and rows without a dependency."""
    contributing = ROOT / "CONTRIBUTING.md"
    text = contributing.read_text() if contributing.is_file() else ""
    section = re.search(r"^## Dependencies\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if section is None:
        yield "CONTRIBUTING.md: no section `## Dependencies`"
        return
    rows = {_normal(name) for name in re.findall(r"^\| `([^`]+)` \| \S", section[1], re.M)}
    direct = {_normal(name) for name in (*_rust_direct(), *_python_direct(), *_node_direct())}
    for name in sorted(direct - rows):
        yield f"CONTRIBUTING.md: say under Dependencies what {name} is for"
    for name in sorted(rows - direct):
        yield f"CONTRIBUTING.md: {name} is listed under Dependencies but nothing depends on it; remove the row"


def machine_traces(policy: dict[str, Any]) -> Iterator[str]:
    """Paths of a developer's machine and registry hosts in files that git tracks or is about to."""
    allowed = set(policy["files"]["registry-hosts-allowed"])
    for path in _tracked():
        if path.suffix in BINARY_SUFFIXES or not path.is_file():
            continue
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if trace := MACHINE_PATHS.search(line):
                yield f"{name}:{number}: {trace[0]!r} is a path of one machine; make it relative or configurable"
            if name not in allowed and (host := REGISTRY_HOSTS.search(line)):
                yield f"{name}:{number}: names the registry host {host[0]!r}; leave it to the user's configuration"


def _rust_direct() -> set[str]:
    names: set[str] = set()
    for manifest in (path for path in _tracked() if path.name == "Cargo.toml"):
        document = tomllib.loads(manifest.read_text())
        for holder in (document, *document.get("target", {}).values()):
            for table in ("dependencies", "dev-dependencies", "build-dependencies"):
                for name, value in holder.get(table, {}).items():
                    names.add(value.get("package", name) if isinstance(value, dict) else name)
    return {name for name in names if not name.startswith("penstock-")}


def _python_direct() -> set[str]:
    pyproject = _toml("pyproject.toml")
    requirements = list(pyproject["project"]["dependencies"])
    for group in pyproject["dependency-groups"].values():
        requirements += [entry for entry in group if isinstance(entry, str)]
    return {_normal(re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]) for requirement in requirements}


def _node_direct() -> set[str]:
    names: set[str] = set()
    for manifest in (path for path in _tracked() if path.name == "package.json"):
        package = json.loads(manifest.read_text())
        names |= package.get("dependencies", {}).keys() | package.get("devDependencies", {}).keys()
    return names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _tracked() -> list[Path]:
    """Files that git tracks, and new ones it does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text())


if __name__ == "__main__":
    sys.exit(main())
