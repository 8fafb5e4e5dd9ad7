#!/bin/sh
# Installs tshark where the system has apt and we may use it. Without it the tests that need it skip, saying so.
set -u
command -v apt-get >/dev/null || { echo "tshark: no apt-get here; tests that need tshark will skip" >&2; exit 0; }
run=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        run="sudo -n"
    else
        echo "tshark: not root and no sudo; tests that need tshark will skip" >&2
        exit 0
    fi
fi
echo "installing tshark with apt-get" >&2
{ $run apt-get update -qq && $run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tshark; } >/dev/null ||
    echo "tshark: apt-get failed; tests that need tshark will skip" >&2
exit 0
