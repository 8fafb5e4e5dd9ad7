#!/bin/sh
# What `make demo` runs: list a capture, show one tree, replay its upload to the embedded server, print the comparison.
set -eu
bin=$1
here=$(dirname "$0")
capture=$here/upload-session.pcap
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n$ %s\n' "$*"; }

say dissector list "$capture" -Y "'rop contains Import or RopSaveChangesMessage'"
"$bin/dissector" list "$capture" -Y 'rop contains Import or RopSaveChangesMessage'

say dissector tree "$capture" -Y "'exchange == 46'"
"$bin/dissector" tree "$capture" -Y 'exchange == 46'

REPLAY_PASSWORD=$("$bin/python" -c 'import secrets; print(secrets.token_hex(8))')
export REPLAY_PASSWORD
log=$(mktemp)
say replay serve --listen 127.0.0.1:0 --user alice
"$bin/replay" serve --listen 127.0.0.1:0 --user alice 2>"$log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -f "$log"' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    url=$(sed -n 's/^listening on //p' "$log")
    [ -n "$url" ] && break
    kill -0 $server 2>/dev/null || { cat "$log" >&2; exit 2; }
    sleep 0.5
done
[ -n "$url" ] || { echo "the embedded server did not start" >&2; cat "$log" >&2; exit 2; }
cat "$log"

say replay run "$capture" --server "$url" --user alice --seed
status=0
"$bin/replay" run "$capture" --server "$url" --user alice --seed || status=$?
[ $status -le 1 ] || exit $status
echo
echo "The comparison ended with code $status (0: same, 1: different)."
