#!/usr/bin/env bash
# Take the submission NAME from a commit, check it, and record its acceptance. The workflow `accept` runs this for a pull request.
# usage: ./accept.sh NAME COMMIT WHO WHY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
[[ $1 =~ ^[a-z0-9][a-z0-9-]{0,59}$ ]] || { echo "no name of a submission: $1" >&2; exit 2; }
git checkout "$2" -- "submissions/$1"
bench board decide accepted "$1" --board . --by "$3" --why "$4" --quiet
git add "submissions/$1" decisions.jsonl
git commit --quiet --message "Accept $1"
