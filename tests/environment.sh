#!/bin/sh
# Makes an environment in a folder, or takes the one that stands there: what a file of tests/environments asks for, and
# this lhub.
#
#   LHUB_TEST_JINA=$(sh tests/environment.sh jina .venv-jina) .venv/bin/pytest -q -m served
#   LHUB_TEST_JAC=$(sh tests/environment.sh jac .venv-jac) .venv/bin/pytest -q -m clients
#   LHUB_TEST_DOWNSTREAM=$(sh tests/environment.sh downstream .venv-downstream) .venv/bin/pytest -q -m downstream
#   $(sh tests/environment.sh browser .venv-browser) -m pytest -q -m browser
#   $(sh tests/environment.sh docarray-new .venv-docarray-new) -m pytest -q -m docarray
#
# Others get this lhub as it lies here (pip install -e), `downstream` gets a wheel of it, made anew each time.
#
# The last line on stdout is its Python. Exit 9: there can be none here, no Python of 3.10 or 3.11 or no package index;
# any other failure is one of the requirements, and worth a look.
set -eu

usage="usage: sh tests/environment.sh jina|jac|browser|docarray-old|docarray-new|downstream|bench FOLDER"
project=$(cd "$(dirname "$0")/.." && pwd)
requirements="$project/tests/environments/${1:?$usage}.txt"
wanted() { echo "$project" | cat - "$requirements" "$project/pyproject.toml"; }
mkdir -p "${2:?$usage}"
folder=$(cd "$2" && pwd)

how=-e
[ "$1" != downstream ] || how=--force-reinstall
if [ "$how" != -e ] || ! { wanted | cmp -s - "$folder/made-with.txt" && "$folder/bin/python" -c ''; }; then
    for python in python3.11 python3.10 python3; do
        # a Python may be a name that starts nothing, as those of pyenv
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null && break
        python=""
    done
    if [ -z "$python" ]; then
        echo "environment: no Python 3.10 or 3.11 is here, and jina 3 and docarray 0.21 know no newer one" >&2
        exit 9
    fi
    "$python" -m venv --clear "$folder" >&2
    if ! "$folder/bin/pip" install -q -r "$requirements" $how "$project" >&2; then
        "$folder/bin/pip" index versions -q click >/dev/null 2>&1 && exit 1
        echo "environment: no package index answers" >&2
        exit 9
    fi
    wanted >"$folder/made-with.txt"
fi
echo "$folder/bin/python"
