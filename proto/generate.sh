#!/bin/sh
# Generates the Go code beside every contract, after formatting and linting it. With
# --check it changes nothing, and fails when the checked-in code is stale or when a
# contract breaks callers of the last release. That is the newest tag, or the revision
# in the file "released" while there is no tag.
set -eu
cd "$(dirname "$0")"

bin="$PWD/.imports/bin"
export PATH="$bin:$PATH"
mkdir -p "$bin"
(cd tools && GOWORK=off go build -mod=readonly -buildvcs=false -o "$bin/" tool && GOWORK=off go build -mod=readonly -buildvcs=false -o "$bin/imports" ./imports)
imports .imports

buf lint --path techtalks
if [ "${1:-}" = --check ]; then
	# Also in a checkout that another user owns.
	git() { command git -c safe.directory='*' "$@"; }
	buf format --path techtalks --diff --exit-code
	made=$(mktemp -d)
	trap 'rm -rf "$made"' EXIT
	released=$(git describe --tags --abbrev=0 2>/dev/null || cat released)
	if ! git cat-file -e "$released:proto/buf.yaml" 2>/dev/null; then
		echo "proto: revision $released of the last release is not in this clone; run git fetch --unshallow --tags" >&2
		exit 1
	fi
	mkdir -p "$made/before"
	git archive "$released" . | tar -x -C "$made/before"
	cp -r .imports "$made/before/"
	(cd "$made/before" && buf build --path techtalks -o "$made/before.binpb")
	buf breaking --path techtalks --against "$made/before.binpb"
	buf generate --path techtalks --output "$made"
	for file in $(cd "$made" && find techtalks -name '*.go'); do
		cmp "$made/$file" "$file" || { echo "stale: proto/$file; run make generate" >&2; exit 1; }
	done
else
	buf format --path techtalks -w
	buf generate --path techtalks
fi
