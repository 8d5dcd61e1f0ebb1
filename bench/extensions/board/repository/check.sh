#!/usr/bin/env bash
# Check every submission and build the site in site/: the same command on your computer and in the workflows.
# usage: ./check.sh [COMMIT]    COMMIT: decisions.jsonl must continue the file of this commit; zeros stand for no commit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
earlier=$(mktemp)
if [[ ${1:-} =~ [^0] ]]; then
    # after a forced push, the commit before is in no branch: without it, removed lines would not be noticed
    git cat-file -e "$1^{commit}" 2> /dev/null || git fetch --quiet origin "$1" || {
        echo "the commit $1 cannot be found, so decisions.jsonl cannot be compared with it" >&2
        exit 2
    }
    if git cat-file -e "$1:decisions.jsonl" 2> /dev/null; then git show "$1:decisions.jsonl" > "$earlier"; fi
fi
bench board build . --output site --before "$earlier" --quiet
rm "$earlier"
