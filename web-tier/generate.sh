#!/bin/sh
# Makes the Go of every page; given --check, changes nothing and fails when what
# is checked in is stale.
set -eu
cd "$(dirname "$0")"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
(cd tools && GOWORK=off go build -mod=readonly -buildvcs=false -o "$made/templ" github.com/a-h/templ/cmd/templ)
if [ "${1:-}" != --check ]; then
	"$made/templ" fmt pages
	exec "$made/templ" generate -path pages
fi
cp -r pages "$made/pages"
"$made/templ" generate -path "$made/pages" >/dev/null 2>&1
diff -r pages "$made/pages" || { echo "stale: web-tier/pages; run make generate" >&2; exit 1; }
