package sweep

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoopRetriesAfterErrorUntilCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		loop := Loop{Name: "test: rows", Interval: time.Minute, Timeout: time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		start, calls := time.Now(), []time.Duration{}
		err := loop.Run(ctx, func(ctx context.Context) error {
			calls = append(calls, time.Since(start))
			if len(calls) == 2 {
				cancel()
				return ctx.Err()
			}
			<-ctx.Done() // the timeout of one sweep
			return errors.New("locked")
		})
		if want := []time.Duration{time.Minute, 2*time.Minute + time.Second}; err != nil || !slices.Equal(calls, want) {
			t.Errorf("got calls after %v and error %v, want %v and none", calls, err, want)
		}
		if n := strings.Count(log.String(), `sweep="test: rows" error=locked`); n != 1 {
			t.Errorf("got %d log lines, want one for the error, none for the cancellation:\n%s", n, log.String())
		}
	})
}

func TestBatchesStopsAtThePartialBatchOrTheError(t *testing.T) {
	rows, failure := int64(25), errors.New("lost connection")
	var sizes []int64
	remove := func(limit int64) (int64, error) {
		sizes = append(sizes, limit)
		removed := min(rows, limit)
		rows -= removed
		return removed, nil
	}
	if err := Batches(10, remove); err != nil || rows != 0 || !slices.Equal(sizes, []int64{10, 10, 10}) {
		t.Errorf("got %v with %d rows left after batches of %v", err, rows, sizes)
	}
	if err := Batches(10, func(int64) (int64, error) { return 10, failure }); !errors.Is(err, failure) {
		t.Errorf("got %v, want the error", err)
	}
}
