package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// quiet is how long the database is watched while nothing changes.
const quiet = 5 * time.Second

// measureWaiters has a thousand wait for something that does not happen, and looks
// at what that keeps and costs.
func (b *bench) measureWaiters(ctx context.Context, s *site, db *sql.DB) error {
	n := b.size(1000, 20)
	operation, err := newWork(ctx, db, len(ways))
	if err != nil {
		return err
	}
	idle, err := transactions(ctx, db, b)
	if err != nil {
		return err
	}
	var rows []row
	for _, one := range []struct{ name, path, gauge string }{
		{"long poll", "/wait?timeout=60s", "live_operation_waiters"},
		{"server-sent events", "/stream", "live_operation_streams"},
	} {
		// A tier that starts anew has no memory left over from before.
		for _, tier := range []string{"logic-tier", "web-tier"} {
			if err := s.restart(ctx, tier); err != nil {
				return err
			}
		}
		web, logic := resident(s.pids("web-tier")), resident(s.pids("logic-tier"))
		all, err := hold(s.web, n, func() string {
			return "GET /operations/" + operation.id + one.path + " HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\nCookie: session=" + deviceSession() + "\r\n\r\n"
		})
		if err != nil {
			return err
		}
		if err := s.awaitGauge(ctx, one.gauge, n); err != nil {
			return err
		}
		web, logic = resident(s.pids("web-tier"))-web, resident(s.pids("logic-tier"))-logic
		busy, err := transactions(ctx, db, b)
		if err != nil {
			return err
		}
		for _, connection := range all {
			_ = connection.Close()
		}
		rows = append(rows,
			row{what: fmt.Sprintf("%s: memory a waiter of %d, web tier", one.name, n), ours: kilobytes(web / float64(n))},
			row{what: fmt.Sprintf("%s: memory a waiter of %d, logic tier", one.name, n), ours: kilobytes(logic / float64(n))},
			row{what: one.name + ": transactions a second while nothing changes", ours: fmt.Sprintf("%.1f", busy), against: fmt.Sprintf("%.1f", idle)})
	}
	b.table("waits", "nobody waits", rows...)
	return nil
}

// hold makes a request on each of n connections, and reads no answer.
func hold(address string, n int, request func() string) (all []net.Conn, err error) {
	for range n {
		connection, err := net.DialTimeout("tcp", address, callTimeout)
		if err != nil {
			return all, err
		}
		all = append(all, connection)
		if _, err := io.WriteString(connection, request()); err != nil {
			return all, err
		}
	}
	return all, nil
}

// awaitGauge waits until a gauge of the web tier's metrics has a value.
func (s *site) awaitGauge(ctx context.Context, name string, want int) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	line := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`)
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.webAdmin+"/metrics", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		found := line.FindSubmatch(text)
		if found == nil {
			return fmt.Errorf("the web tier's metrics have no %s", name)
		}
		if is, _ := strconv.ParseFloat(string(found[1]), 64); int(is) >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is %s, want %d", name, found[1], want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// transactions returns how many the database commits in a second.
func transactions(ctx context.Context, db *sql.DB, b *bench) (float64, error) {
	count := func() (n float64, err error) {
		err = db.QueryRowContext(ctx, `select xact_commit from pg_stat_database where datname = 'techtalks'`).Scan(&n)
		return n, err
	}
	before, err := count()
	if err != nil {
		return 0, err
	}
	watch := quiet
	if b.quick {
		watch = time.Second
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(watch):
	}
	after, err := count()
	return (after - before) / watch.Seconds(), err
}
