#!/bin/sh
# Runs shellcheck on every shell script of the repository.
set -eu
cd "$(dirname "$0")/../.."
if ! command -v shellcheck >/dev/null; then
	echo "shellcheck is not installed (Debian: apt-get install shellcheck)"
	exit 77
fi
git grep -lE '^#!/(bin/sh|usr/bin/env bash)' -- . | xargs shellcheck --external-sources
