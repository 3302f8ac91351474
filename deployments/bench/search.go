package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// searchRatio is the target for the time of a search relative to that of its SQL.
const searchRatio = 3

// searches are typical searches, common and rare. Most match nothing in a generated catalogue, for which
// measureSearch adds words.
var searches = []string{"python", "django testing", "machine learning", "async", "\"design patterns\"", "postgres", "keynote", "web framework", "distributed systems", "go", "data science", "café"}

// measureSearch runs each search as a page, as a call, and as its SQL in pgbench, in turn.
func measureSearch(ctx context.Context, b *bench) error {
	s, err := b.withCatalogue(ctx)
	if err != nil {
		return err
	}
	pgbench, err := findPgbench()
	if err != nil {
		return err
	}
	connection, err := s.operator()
	if err != nil {
		return err
	}
	defer connection.Close()
	client := talkspb.NewTalksClient(connection)
	call := func(words string) error {
		ctx, done := context.WithTimeout(ctx, callTimeout)
		defer done()
		_, err := client.ListTalks(ctx, &talkspb.ListTalksRequest{Query: words})
		return err
	}
	statement, err := s.searchStatement(ctx, func() error { return call("needle") })
	if err != nil {
		return err
	}
	words := append(strings.Fields("testing pattern"), searches...)[:b.size(14, 3)]
	n := b.size(40, 5)
	var results [3]searchTimes
	for range b.runs {
		var times [3][2][]float64 // ours and that of the SQL, one value for each search
		for _, word := range words {
			paths := []string{"/talks?q=" + url.QueryEscape(word)}
			sql := strings.ReplaceAll(statement, "needle", word)
			for i, measure := range []func() (ours, baseline float64, err error){
				func() (float64, float64, error) { return s.compareWithSQL(ctx, pgbench, b.folder, sql, paths, 1, n) },
				func() (float64, float64, error) {
					return s.compareWithSQL(ctx, pgbench, b.folder, sql, paths, searchClients, n)
				},
				func() (float64, float64, error) {
					var calls []float64
					for range n {
						began := time.Now()
						if err := call(word); err != nil {
							return 0, 0, err
						}
						calls = append(calls, time.Since(began).Seconds()*1e3)
					}
					baseline, err := s.pgbench(ctx, pgbench, b.folder, sql, 1, n)
					return median(calls), baseline, err
				},
			} {
				ours, baseline, err := measure()
				if err != nil {
					return err
				}
				times[i][0], times[i][1] = append(times[i][0], ours), append(times[i][1], baseline)
			}
		}
		for i := range results {
			results[i].add(median(times[i][0]), median(times[i][1]))
		}
	}
	b.table("search", "its SQL in pgbench",
		results[1].row(fmt.Sprintf("the page, %d clients, median of %d searches", searchClients, len(words))),
		results[2].row("the gRPC call, one at a time"),
		results[0].row("the page, one at a time"))
	return nil
}

// searchClients is the number of concurrent clients. With a single client, most of the time is
// scheduling latency.
const searchClients = 8

// compareWithSQL measures a search as a page and as its SQL.
func (s *site) compareWithSQL(ctx context.Context, pgbench, folder, sql string, paths []string, clients, n int) (ours, baseline float64, err error) {
	took, err := latencyOf(ctx, s.web, clients, paths, n)
	if err != nil {
		return 0, 0, err
	}
	baseline, err = s.pgbench(ctx, pgbench, folder, sql, clients, n)
	return took.Seconds() * 1e3, baseline, err
}

// searchTimes are the times of a search and of its SQL in milliseconds, one value for each run.
type searchTimes struct{ ours, baseline, ratios []float64 }

func (s *searchTimes) add(ours, baseline float64) {
	s.ours, s.baseline, s.ratios = append(s.ours, ours), append(s.baseline, baseline), append(s.ratios, ours/baseline)
}

func (s *searchTimes) row(label string) row {
	ratio := median(s.ratios)
	return row{label: label, ours: spread(s.ours, "%.2f ms"), baseline: spread(s.baseline, "%.2f ms"), ratio: fmt.Sprintf("%.2f", ratio),
		target: fmt.Sprintf("at most %d", searchRatio), met: ratio <= searchRatio}
}

func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) == 0 {
		return "", fmt.Errorf("pgbench is missing: install the Debian package postgresql")
	}
	return found[len(found)-1], nil
}

// searchStatement returns the SQL of a search from the log of Postgres, with its parameters filled in.
func (s *site) searchStatement(ctx context.Context, search func() error) (string, error) {
	db, err := s.superuser(ctx)
	if err != nil {
		return "", err
	}
	defer db.Close()
	for _, setting := range []string{"log_min_duration_statement = 0", "log_line_prefix = 'bench '"} {
		if _, err := db.ExecContext(ctx, `alter system set `+setting); err != nil {
			return "", err
		}
	}
	defer func() {
		_, _ = db.ExecContext(context.WithoutCancel(ctx), `alter system reset all`)
		_, _ = db.ExecContext(context.WithoutCancel(ctx), `select pg_reload_conf()`)
	}()
	if _, err := db.ExecContext(ctx, `select pg_reload_conf()`); err != nil {
		return "", err
	}
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	for ctx.Err() == nil {
		if err := search(); err != nil {
			return "", err
		}
		text, err := os.ReadFile(filepath.Join(s.run, "logs", "data-tier.log"))
		if err != nil {
			return "", err
		}
		if statement, ok := lastSearch(string(text)); ok {
			return statement, nil
		}
	}
	return "", fmt.Errorf("no search in the log of Postgres: %w", ctx.Err())
}

var parameter = regexp.MustCompile(`\$(\d+) = ('(?:[^']|'')*'|NULL)`)

// lastSearch returns the last search statement in a log, with its parameters filled in.
func lastSearch(log string) (string, bool) {
	start := strings.LastIndex(log, "= 'needle'")
	if start < 0 {
		return "", false
	}
	log = log[:start+strings.IndexByte(log[start:]+"\n", '\n')]
	head := strings.LastIndex(log, "execute ")
	detail := strings.LastIndex(log, "bench DETAIL:")
	if head < 0 || detail < head {
		return "", false
	}
	_, statement, _ := strings.Cut(log[head:detail], ": ")
	values := map[string]string{}
	for _, match := range parameter.FindAllStringSubmatch(log[detail:], -1) {
		values[match[1]] = match[2]
	}
	filled := regexp.MustCompile(`\$(\d+)`).ReplaceAllStringFunc(statement, func(reference string) string { return values[reference[1:]] })
	// pgbench replaces :name with its variables, but not in casts (::name).
	return strings.TrimSpace(filled) + ";\n", strings.Contains(filled, "websearch_to_tsquery")
}

// pgbench runs a prepared statement as the module's role, n times from each client, and returns the
// median time in milliseconds.
func (s *site) pgbench(ctx context.Context, program, folder, statement string, clients, n int) (float64, error) {
	script := filepath.Join(folder, "search.sql")
	if err := os.WriteFile(script, []byte(statement), 0o644); err != nil {
		return 0, err
	}
	host, port, _ := strings.Cut(s.data, ":")
	command := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--client="+strconv.Itoa(clients), "--transactions="+strconv.Itoa(n), "--log",
		"--log-prefix="+filepath.Join(folder, "pgbench"), "--file="+script, "techtalks")
	command.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=talks", "PGSSLMODE=verify-full",
		"PGSSLROOTCERT="+filepath.Join(s.certificates(), "ca.crt"), "PGSSLCERT="+filepath.Join(s.certificates(), "logic-tier.crt"),
		"PGSSLKEY="+filepath.Join(s.certificates(), "logic-tier.key"))
	var stderr bytes.Buffer
	command.Stdout, command.Stderr = io.Discard, &stderr
	if err := command.Run(); err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s\n%s", err, stderr.String(), statement)
	}
	logs, err := filepath.Glob(filepath.Join(folder, "pgbench.*"))
	if err != nil || len(logs) != 1 {
		return 0, fmt.Errorf("pgbench wrote %d logs, want 1: %w", len(logs), err)
	}
	defer os.Remove(logs[0])
	file, err := os.Open(logs[0])
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var times []float64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// client_id transaction_no time(µs) …
		if fields := strings.Fields(lines.Text()); len(fields) > 2 {
			microseconds, _ := strconv.ParseFloat(fields[2], 64)
			times = append(times, microseconds/1e3)
		}
	}
	return median(times), nil
}
