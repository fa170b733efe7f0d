#!/bin/sh
# Find a supported Python and let it make .venv: sh scripts/setup.sh demo|dev
# PYTHON=/path/to/python overrides the search.
set -u
cd "$(dirname "$0")/.." || exit 1

# Really run each candidate: a pyenv shim exists for versions that are not selected, and fails.
PROBE='import sys, ssl, sqlite3, zlib
ok = sys.implementation.name == "cpython" and (3, 11) <= sys.version_info[:2] <= (3, 13)
print(sys.executable if ok else "")
sys.exit(not ok)'

probe() {
    found=$("$1" -c "$PROBE" 2>/dev/null) && [ -n "$found" ]
}

# An interpreter that cannot make an environment by itself is the second choice, not the first.
complete() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

candidates() {
    printf '%s\n' python3.11 python3.12 python3.13 python3 python
    for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[123].*/bin/python3; do
        [ -x "$found" ] && printf '%s\n' "$found"
    done
}

refuse() {
    cat >&2 <<'TEXT'
error: no usable Python found. Foreshock runs on CPython 3.11, 3.12 and 3.13 (64 bit), on Linux
x86_64 and arm64 (glibc 2.28 or newer) and on macOS 14 or newer (arm64). Looked at: PYTHON,
python3.11, python3.12, python3.13, python3, python, the versions of pyenv. What to do, one of:
  Debian, Ubuntu:  apt-get install python3.11 python3.11-venv
  Fedora, RHEL:    dnf install python3.11
  macOS:           brew install python@3.13
  elsewhere:       make PYTHON=/path/to/python3.11 <target>
TEXT
    exit 1
}

choose() {
    if [ -n "${PYTHON:-}" ]; then
        probe "$PYTHON" && return
        echo "error: PYTHON=$PYTHON is not a CPython 3.11, 3.12 or 3.13 with ssl and sqlite3." >&2
        refuse
    fi
    second=
    for candidate in $(candidates); do
        probe "$candidate" || continue
        complete "$candidate" && return
        second=${second:-$found}
    done
    found=$second
    [ -n "$found" ] || refuse
}

choose
exec "$found" scripts/environment.py "$@"
