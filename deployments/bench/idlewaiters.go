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

// idleWatch is the time for which the database is observed while nothing changes.
const idleWatch = 5 * time.Second

// measureIdleWaiters measures the memory and the database load of a thousand clients that wait for
// an operation that does not change.
func (b *bench) measureIdleWaiters(ctx context.Context, s *site, db *sql.DB) error {
	n := b.size(1000, 20)
	operation, err := newFakeOperation(ctx, db, len(waitModes))
	if err != nil {
		return err
	}
	idle, err := transactions(ctx, db, b)
	if err != nil {
		return err
	}
	var rows []row
	for _, way := range []struct{ name, path, gauge string }{
		{"long poll", "/wait?timeout=60s", "live_operation_waiters"},
		{"server-sent events", "/stream", "live_operation_streams"},
	} {
		// A restarted tier holds no memory from earlier measurements.
		for _, tier := range []string{"logic-tier", "web-tier"} {
			if err := s.restart(ctx, tier); err != nil {
				return err
			}
		}
		web, logic := residentMemory(s.pids("web-tier")), residentMemory(s.pids("logic-tier"))
		connections, err := hold(s.web, n, func() string {
			return "GET /operations/" + operation.id + way.path + " HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\nCookie: session=" + deviceSession() + "\r\n\r\n"
		})
		if err != nil {
			return err
		}
		if err := s.awaitGauge(ctx, way.gauge, n); err != nil {
			return err
		}
		web, logic = residentMemory(s.pids("web-tier"))-web, residentMemory(s.pids("logic-tier"))-logic
		waiting, err := transactions(ctx, db, b)
		if err != nil {
			return err
		}
		for _, connection := range connections {
			_ = connection.Close()
		}
		rows = append(rows,
			row{label: fmt.Sprintf("%s: memory per waiter of %d, web tier", way.name, n), ours: kilobytes(web / float64(n))},
			row{label: fmt.Sprintf("%s: memory per waiter of %d, logic tier", way.name, n), ours: kilobytes(logic / float64(n))},
			row{label: way.name + ": transactions a second while idle", ours: fmt.Sprintf("%.1f", waiting), baseline: fmt.Sprintf("%.1f", idle)})
	}
	b.table("waits", "no waiters", rows...)
	return nil
}

// hold sends a request on each of n connections and reads no response.
func hold(address string, n int, request func() string) (connections []net.Conn, err error) {
	for range n {
		connection, err := net.DialTimeout("tcp", address, callTimeout)
		if err != nil {
			return connections, err
		}
		connections = append(connections, connection)
		if _, err := io.WriteString(connection, request()); err != nil {
			return connections, err
		}
	}
	return connections, nil
}

// awaitGauge waits until a gauge of the web tier has at least a value.
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
		if value, _ := strconv.ParseFloat(string(found[1]), 64); int(value) >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is %s, want at least %d", name, found[1], want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// transactions returns the number of commits a second while idle.
func transactions(ctx context.Context, db *sql.DB, b *bench) (float64, error) {
	count := func() (n float64, err error) {
		err = db.QueryRowContext(ctx, `select xact_commit from pg_stat_database where datname = 'techtalks'`).Scan(&n)
		return n, err
	}
	before, err := count()
	if err != nil {
		return 0, err
	}
	duration := idleWatch
	if b.quick {
		duration = time.Second
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(duration):
	}
	after, err := count()
	return (after - before) / duration.Seconds(), err
}
