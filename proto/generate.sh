#!/bin/sh
# Makes the Go beside every contract, after formatting and linting it; given
# --check, changes nothing and fails when what is checked in is stale or when a
# contract breaks callers of the last commit's.
set -eu
cd "$(dirname "$0")"

bin="$PWD/.imports/bin"
export PATH="$bin:$PATH"
mkdir -p "$bin"
(cd tools && GOWORK=off go build -o "$bin/" tool && GOWORK=off go build -o "$bin/imports" ./imports)
imports .imports

buf lint --path techtalks
if [ "${1:-}" = --check ]; then
	buf format --path techtalks --diff --exit-code
	made=$(mktemp -d)
	trap 'rm -rf "$made"' EXIT
	buf generate --path techtalks --output "$made"
	for file in $(cd "$made" && find techtalks -name '*.go'); do
		cmp "$made/$file" "$file" || { echo "stale: proto/$file; run make generate" >&2; exit 1; }
	done
	if git rev-parse --quiet --verify HEAD:proto/buf.yaml >/dev/null; then
		before="$made/before"
		mkdir -p "$before"
		git archive HEAD . | tar -x -C "$before"
		cp -r .imports "$before/"
		(cd "$before" && buf build --path techtalks -o "$made/before.binpb")
		buf breaking --path techtalks --against "$made/before.binpb"
	fi
else
	buf format --path techtalks -w
	buf generate --path techtalks
fi
