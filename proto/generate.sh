#!/bin/sh
# Makes the Go beside every contract, after formatting and linting it; given
# --check, changes nothing and fails when what is checked in is stale or when a
# contract breaks callers of the last commit's.
set -eu
cd "$(dirname "$0")"

bin="$PWD/.imports/bin"
export PATH="$bin:$PATH"
mkdir -p "$bin" .imports/buf/validate
(cd tools && GOWORK=off go build -o "$bin/" tool)

# The validation rules' own contract comes from its Go module: it is verified
# by go.sum like any other code.
rules=$(cd tools && GOWORK=off go list -m -f '{{.Dir}}' github.com/bufbuild/protovalidate 2>/dev/null || true)
if [ -z "$rules" ]; then
	(cd tools && GOWORK=off go mod download github.com/bufbuild/protovalidate)
	rules=$(cd tools && GOWORK=off go list -m -f '{{.Dir}}' github.com/bufbuild/protovalidate)
fi
cp -f "$rules/proto/protovalidate/buf/validate/validate.proto" .imports/buf/validate/validate.proto

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
