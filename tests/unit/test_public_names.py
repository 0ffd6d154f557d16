"""What `import antiphon` offers: each name is a promise."""

import subprocess
import sys

import antiphon

NAMES = [
    "Agent",
    "AntiphonError",
    "AssertRow",
    "Column",
    "Conflict",
    "Corrupt",
    "Domain",
    "Fleet",
    "Forgotten",
    "FullText",
    "Index",
    "InvalidInput",
    "Kind",
    "LimitExceeded",
    "Memory",
    "NotFound",
    "ProtocolViolation",
    "Recorded",
    "Rejected",
    "Table",
    "Type",
    "Unavailable",
    "UpdateRow",
    "Verdict",
    "WrongKey",
    "verify_proof",
    "__version__",
    # what a table may be declared with
    "ANYONE",
    "AUTHOR",
    "Check",
    "DeleteRow",
    "Derived",
    "Measure",
    "Merge",
    "OnlyWith",
    "PRINCIPAL",
    "READ_ALL",
    "READ_OWN",
    "Retention",
    "Rollup",
    "Scope",
    "owners",
    "parties",
    "role",
]


def test_the_public_names_are_these() -> None:
    assert sorted(antiphon.__all__) == sorted(NAMES)


def test_every_name_is_there() -> None:
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(antiphon, "Nothing")


def test_importing_loads_no_driver() -> None:
    code = "import sys, antiphon; print([name for name in ('apsw', 'nacl', 'msgspec') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
