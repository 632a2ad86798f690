#!/bin/sh
# Makes the environment of tests/test_served.py in a folder, or takes the one that stands there: jina 3, and this lhub.
#
#   LHUB_TEST_JINA=$(sh tests/served_environment.sh .venv-jina) .venv/bin/pytest -q -m served
#
# The last line on stdout is its Python. Exit 9: there can be none here, no Python of 3.10 or 3.11 or no package index;
# any other failure is one of the requirements, and worth a look.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
requirements="$project/tests/served_requirements.txt"
wanted() { echo "$project" | cat - "$requirements" "$project/pyproject.toml"; }
mkdir -p "${1:?usage: sh tests/served_environment.sh FOLDER}"
folder=$(cd "$1" && pwd)

if ! { wanted | cmp -s - "$folder/made-with.txt" && "$folder/bin/python" -c ''; }; then
    for python in python3.11 python3.10 python3; do
        # a Python may be a name that starts nothing, as those of pyenv
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null && break
        python=""
    done
    if [ -z "$python" ]; then
        echo "served_environment: no Python 3.10 or 3.11 is here, and jina 3 knows no newer one" >&2
        exit 9
    fi
    "$python" -m venv --clear "$folder" >&2
    if ! "$folder/bin/pip" install -q -r "$requirements" -e "$project" >&2; then
        "$folder/bin/pip" index versions -q jina >/dev/null 2>&1 && exit 1
        echo "served_environment: no package index answers" >&2
        exit 9
    fi
    wanted >"$folder/made-with.txt"
fi
echo "$folder/bin/python"
