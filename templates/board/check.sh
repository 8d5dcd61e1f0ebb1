#!/usr/bin/env bash
# Check every submission and build the site in site/: the same command on your computer and in the workflows.
# usage: ./check.sh [COMMIT]    COMMIT: decisions.jsonl must continue the file of this commit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
earlier=$(mktemp)
if [ $# -gt 0 ]; then git show "$1:decisions.jsonl" > "$earlier" 2> /dev/null || : > "$earlier"; fi
bench board . --output site --before "$earlier" --quiet
rm "$earlier"
