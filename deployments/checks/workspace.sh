#!/bin/sh
# Loads every module that go.work names, as an editor does.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck disable=SC2046 # the folders are words
GOWORK="$PWD/go.work" go list -deps $(sed -n 's|^	\(\./.*\)|\1/...|p' go.work) >/dev/null
