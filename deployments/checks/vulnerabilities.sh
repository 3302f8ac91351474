#!/bin/sh
# Runs govulncheck, pinned in tools/go.mod, on every tier. Skips where the vulnerability
# database cannot be reached.
set -eu
cd "$(dirname "$0")/../.."
database=https://vuln.go.dev
if ! curl --silent --fail --max-time 10 --output /dev/null "$database/index/db.json"; then
	echo "$database cannot be reached"
	exit 77
fi
root=$PWD
bin=${RUN_DIR:-$root/.run}/bin
mkdir -p "$bin"
(cd deployments/checks/tools && go build -o "$bin/govulncheck" golang.org/x/vuln/cmd/govulncheck)
for module in proto data-tier web-tier logic-tier; do
	(cd "$module" && GOWORK=off "$bin/govulncheck" ./...)
done
