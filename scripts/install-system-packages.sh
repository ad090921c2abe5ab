#!/usr/bin/env bash
# Installs the system packages that some tests use and pip cannot bring:
#
#   chromium    the browser of the end-to-end tests of the chat page and the report (they skip without it)
#
# For Debian and Ubuntu. Installs only what is missing, so it can run again at any time. groundup itself needs none of
# these. On other systems install Chromium or Google Chrome by its own way; the tests look for it on the PATH.
set -euo pipefail

for browser in chromium google-chrome; do
  if command -v "$browser" >/dev/null; then
    echo "System packages: $browser is there; nothing to install."
    exit 0
  fi
done

if ! command -v apt-get >/dev/null; then
  echo "There is no apt-get here: install Chromium by hand so that 'chromium' is on the PATH." >&2
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Installing packages needs root, and there is no sudo: run this script as root." >&2
    exit 1
  fi
  as_root=(sudo)
fi

export DEBIAN_FRONTEND=noninteractive
echo "Installing chromium with apt-get (about a minute) ..."
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -qq -y --no-install-recommends chromium >/dev/null
chromium --version
