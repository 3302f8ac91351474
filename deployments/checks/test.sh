# The checks of "make test": everything that finds ordinary mistakes within minutes.
# Tests that take long skip themselves under -short; "make verify" runs them.
# shellcheck shell=bash
# shellcheck disable=SC2034 # run.sh reads it: skipped tests are not listed
hide=skipped
beside "Go passes golangci-lint" deployments/checks/lint.sh # minutes when nothing is cached
step "generated code of the contracts is current, and compatible" proto/generate.sh --check
step "generated code of the pages is current" web-tier/generate.sh --check
step "the workspace loads" deployments/checks/workspace.sh
step "shell scripts pass shellcheck" deployments/checks/shell.sh
step "no text hides who does what" deployments/checks/language.sh
for module in proto data-tier web-tier logic-tier; do
	tests $module -short -timeout=10m
done
mapfile -t packages < <(cd deployments && go list ./... | grep -vE '/(abuse|badstart|doctor|drills|images)(/|$)')
tests deployments -short -timeout=10m "${packages[@]}"
await_beside
step "no known vulnerability is called" deployments/checks/vulnerabilities.sh
