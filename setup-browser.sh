#!/bin/sh
# Installs Debian's Chromium, which the browser tests drive. Called by `make setup-browser`; needs apt-get and root.
set -eu
say() { echo "setup-browser: $*" >&2; }

if command -v chromium >/dev/null 2>&1; then
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
  say "this needs apt-get and root; otherwise install Chromium so that the command 'chromium' is found"
  exit 2
fi
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium
