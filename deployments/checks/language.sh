#!/usr/bin/env bash
# Finds phrases that hide who does what. It is a reminder; the measure is a reader who does
# not stumble. CONTRIBUTING.md, "Glossary", has the words to use instead. Migrations stay
# as they were applied.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
if ! git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
	echo "this is no git checkout"
	exit 77
fi

# pattern (grep -iE) and what to write instead.
banned='
\banew\b	again, or re-render, recreate
\b(some|no|any|every)body\b	the client, caller, account, worker: name the actor
\bwhoever\b	name the actor
\bunder way\b	running, in progress, in flight
\b(is|are|be|was|were) told (of|by|to|that|what|when|it|again)\b	receives, is notified
\b(goes|go|went|going) on (with|where|from|by|at|when|until|to)\b	resume, continue
\bmend(s|ed|ing)?\b	fix
\btakes? away\b	delete, remove
\bis another.s\b	belongs to another ...
\bwho (waits|comes|came|asks|asked)\b	name the actor
\bat the most\b|\bso many\b	at most N, a number of
\bTest(What|Who|Whoever|Nobody|Somebody|Anybody|Everybody)[A-Z]	a test is named after the behaviour of its subject
'
failed=
while IFS=$'\t' read -r pattern instead; do
	[ -n "$pattern" ] || continue
	if found=$(git -c safe.directory='*' grep -nIiE "$pattern" -- '*.go' '*.templ' '*.proto' '*.sql' '*.js' '*.css' '*.sh' '*.md' '*.svg' '*.yml' '*.yaml' '*Dockerfile' Makefile \
		':!*_templ.go' ':!*.pb.go' ':!deployments/demo/catalogue' ':!data-tier/schema' ':!deployments/checks/language.sh' ':!CONTRIBUTING.md' |
		grep -vE '["/]nobody[":]'); then # the Unix user
		printf '%s\n   write: %s\n' "$found" "$instead"
		failed=yes
	fi
done <<<"$banned"
[ -z "$failed" ]
