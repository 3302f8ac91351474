package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Targets of a fan-out.
const (
	fanOutRate    = 100_000 // inbox rows a second
	publishRatio  = 1.5     // of the time to publish for one follower
	firstDelivery = 100 * time.Millisecond
)

// connectedFollowers is the number of followers with an open stream.
const connectedFollowers = 10

// measureFanOut publishes on a channel with many followers and on a channel with one follower in
// turn.
func measureFanOut(ctx context.Context, b *bench) error {
	s, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	connection, err := s.operator()
	if err != nil {
		return err
	}
	defer connection.Close()
	followerCount := b.size(100_000, 2_000)
	if err := followers(ctx, db, followerCount); err != nil {
		return err
	}
	publisher, err := newPublisher(ctx, connection, "bench-fan-out")
	if err != nil {
		return err
	}
	large, err := publisher.channel(ctx, db, "bench-large", 1, followerCount)
	if err != nil {
		return err
	}
	small, err := publisher.channel(ctx, db, "bench-small", 1, 1)
	if err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	// Evenly spaced from the first follower to the last.
	streams, err := open(ctx, s.web, connectedFollowers, func(n int) string {
		return follow(1 + n*(followerCount-1)/(connectedFollowers-1))
	})
	if err != nil {
		return err
	}
	defer streams.close()
	var rates, firsts, lasts, publishLarge, publishSmall, ratios []float64
	for n := range b.runs + 1 {
		streams.reset()
		began := time.Now()
		talk, err := publisher.publish(ctx, small, fmt.Sprint("Small ", n))
		if err != nil {
			return err
		}
		forOne := time.Since(began)
		if err := awaitFanOut(ctx, db, talk.Name); err != nil {
			return err
		}
		if err := streams.await(ctx, 1); err != nil {
			return err
		}
		streams.reset()
		began = time.Now()
		if talk, err = publisher.publish(ctx, large, fmt.Sprint("Large ", n)); err != nil {
			return err
		}
		forMany := time.Since(began)
		if err := awaitFanOut(ctx, db, talk.Name); err != nil {
			return err
		}
		took := time.Since(began)
		if err := streams.await(ctx, connectedFollowers); err != nil {
			return err
		}
		if n == 0 {
			continue // warm-up: table pages and query plans
		}
		rates = append(rates, float64(followerCount)/took.Seconds())
		since := func(unixNano int64) float64 { return time.Unix(0, unixNano).Sub(began).Seconds() * 1e3 }
		firsts, lasts = append(firsts, since(streams.first.Load())), append(lasts, since(streams.last.Load()))
		publishLarge, publishSmall = append(publishLarge, forMany.Seconds()*1e3), append(publishSmall, forOne.Seconds()*1e3)
		ratios = append(ratios, forMany.Seconds()/forOne.Seconds())
	}
	b.table("fanout", "one follower",
		row{label: fmt.Sprintf("inbox rows a second, %d followers", followerCount), ours: spread(rates, "%.0f"),
			target: fmt.Sprintf("at least %d", fanOutRate), met: median(rates) >= fanOutRate},
		row{label: "publishing", ours: spread(publishLarge, "%.1f ms"), baseline: spread(publishSmall, "%.1f ms"), ratio: fmt.Sprintf("%.2f", median(ratios)),
			target: fmt.Sprintf("under %.1f", publishRatio), met: median(ratios) < publishRatio},
		row{label: "notification of the first connected follower", ours: spread(firsts, "%.0f ms"),
			target: fmt.Sprintf("within %v", firstDelivery), met: median(firsts) <= float64(firstDelivery.Milliseconds())},
		row{label: fmt.Sprintf("notification of the last of %d connected followers", connectedFollowers), ours: spread(lasts, "%.0f ms")})
	return nil
}

// follow returns a browser's request for the stream of a follower's inbox.
func follow(follower int) string {
	return "GET /inbox/stream HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: text/event-stream\r\nCookie: session=" + sessionOf(follower) + "\r\n\r\n"
}

// awaitFanOut waits until a talk is in the inboxes of all followers.
func awaitFanOut(ctx context.Context, db *sql.DB, talk string) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	for {
		var complete bool
		err := db.QueryRowContext(ctx, `select coalesce((select complete from notifications.event where subject = $1), false)`, talk).Scan(&complete)
		if err != nil || complete {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}
