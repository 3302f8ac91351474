#!/bin/sh
# Runs golangci-lint, pinned in tools/go.mod, on every module. See .golangci.yml.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
bin=${RUN_DIR:-$root/.run}/bin
mkdir -p "$bin"
(cd deployments/checks/tools && go build -o "$bin/golangci-lint" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
failed=
for module in proto data-tier web-tier logic-tier deployments deployments/bench deployments/kubernetes; do
	(cd "$module" && GOWORK=off "$bin/golangci-lint" run --config "$root/.golangci.yml" ./...) || failed=yes
done
[ -z "$failed" ]
