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

// searchRatio is how many times the time of its SQL a search may take.
const searchRatio = 3

// searches are words that people look for, common and rare. In a made catalogue
// most of them are found nowhere: its own words are added.
var searches = []string{"python", "django testing", "machine learning", "async", "\"design patterns\"", "postgres", "keynote", "web framework", "distributed systems", "go", "data science", "café"}

// measureSearch makes each search in three ways in turn: as a page, as a call,
// and as its SQL in pgbench.
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
	var all [3]searched
	for range b.runs {
		var times [3][2][]float64 // ours and that of the SQL alone, a search each
		for _, word := range words {
			path := []string{"/talks?q=" + url.QueryEscape(word)}
			sql := strings.ReplaceAll(statement, "needle", word)
			for i, ask := range []func() (ours, alone float64, err error){
				func() (float64, float64, error) { return s.compare(ctx, pgbench, b.folder, sql, path, 1, n) },
				func() (float64, float64, error) { return s.compare(ctx, pgbench, b.folder, sql, path, searchers, n) },
				func() (float64, float64, error) {
					var calls []float64
					for range n {
						began := time.Now()
						if err := call(word); err != nil {
							return 0, 0, err
						}
						calls = append(calls, time.Since(began).Seconds()*1e3)
					}
					alone, err := s.pgbench(ctx, pgbench, b.folder, sql, 1, n)
					return median(calls), alone, err
				},
			} {
				ours, alone, err := ask()
				if err != nil {
					return err
				}
				times[i][0], times[i][1] = append(times[i][0], ours), append(times[i][1], alone)
			}
		}
		for i := range all {
			all[i].add(median(times[i][0]), median(times[i][1]))
		}
	}
	b.table("search", "its SQL in pgbench",
		all[1].row(fmt.Sprintf("the page, %d people at a time, median of %d searches", searchers, len(words))),
		all[2].row("the call behind it, one at a time"),
		all[0].row("the page, one at a time"))
	return nil
}

// searchers is how many search at the same time: with one alone, processes that
// wait to be woken are most of what is measured.
const searchers = 8

// compare makes a search as a page and as its SQL, by so many clients.
func (s *site) compare(ctx context.Context, pgbench, folder, sql string, path []string, clients, n int) (ours, alone float64, err error) {
	took, err := askBy(ctx, s.web, clients, path, n)
	if err != nil {
		return 0, 0, err
	}
	alone, err = s.pgbench(ctx, pgbench, folder, sql, clients, n)
	return took.Seconds() * 1e3, alone, err
}

// searched is the times of a search and of its SQL, in milliseconds, a run each.
type searched struct{ ours, alone, ratios []float64 }

func (s *searched) add(ours, alone float64) {
	s.ours, s.alone, s.ratios = append(s.ours, ours), append(s.alone, alone), append(s.ratios, ours/alone)
}

func (s *searched) row(what string) row {
	ratio := median(s.ratios)
	return row{what: what, ours: spread(s.ours, "%.2f ms"), against: spread(s.alone, "%.2f ms"), ratio: fmt.Sprintf("%.2f", ratio),
		target: fmt.Sprintf("at most %d", searchRatio), met: ratio <= searchRatio}
}

func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) == 0 {
		return "", fmt.Errorf("pgbench is missing: install it (Debian: apt-get install postgresql)")
	}
	return found[len(found)-1], nil
}

// searchStatement returns the SQL of a search as Postgres itself logs it, with
// its parameters in their places.
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
	return "", fmt.Errorf("Postgres logs no search: %w", ctx.Err())
}

var parameter = regexp.MustCompile(`\$(\d+) = ('(?:[^']|'')*'|NULL)`)

// lastSearch finds the statement in a log and puts its parameters in.
func lastSearch(log string) (string, bool) {
	at := strings.LastIndex(log, "= 'needle'")
	if at < 0 {
		return "", false
	}
	log = log[:at+strings.IndexByte(log[at:]+"\n", '\n')]
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
	whole := regexp.MustCompile(`\$(\d+)`).ReplaceAllStringFunc(statement, func(place string) string { return values[place[1:]] })
	// pgbench would take a colon and a name for a variable of its own, but for a
	// cast.
	return strings.TrimSpace(whole) + ";\n", strings.Contains(whole, "websearch_to_tsquery")
}

// pgbench runs a statement prepared, as the role of the module, n times by each
// of some clients, and returns the median time in milliseconds.
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
	var said bytes.Buffer
	command.Stdout, command.Stderr = io.Discard, &said
	if err := command.Run(); err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s\n%s", err, said.String(), statement)
	}
	logs, err := filepath.Glob(filepath.Join(folder, "pgbench.*"))
	if err != nil || len(logs) != 1 {
		return 0, fmt.Errorf("pgbench left %d logs: %w", len(logs), err)
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
