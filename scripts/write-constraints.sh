#!/usr/bin/env bash
# Writes constraints.txt anew: the newest versions that `.[dev]` resolves to today, in an empty environment.
# Run it after a change of the dependencies, or to move to newer versions; then `make check test` and commit the file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${PYTHON:-python3.11}" -m venv "$environment"
echo "Installing .[dev] into an empty environment (one to three minutes) ..." >&2
"$environment/bin/pip" install --quiet "torch==2.13.*" --editable ".[dev]"

{
  cat <<'HEADER'
# The versions that CI tested, for `pip install -c constraints.txt`: everything that `.[dev]` brings, directly or not.
# torch is left open behind 2.13 so that a CPU build and a CUDA build both fit. Written by scripts/write-constraints.sh.
HEADER
  "$environment/bin/pip" freeze --exclude-editable | grep -v '^torch==' | grep '==' | cat - <(echo 'torch==2.13.*') |
    LC_ALL=C sort --ignore-case
} >constraints.txt.new
mv constraints.txt.new constraints.txt
echo "constraints.txt holds $(grep -c '==' constraints.txt) versions." >&2
