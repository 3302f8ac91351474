package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Targets of a fan-out.
const (
	fanOutSpeed   = 100_000 // inbox rows a second
	publishRatio  = 1.5     // of the time of publishing for one follower
	firstFollower = 100 * time.Millisecond
)

// connected is how many of a channel's followers are there to hear of it.
const connected = 10

// measureFanOut publishes on a channel of many followers and on one of a single
// follower in turn.
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
	many := b.size(100_000, 2_000)
	if err := followers(ctx, db, many); err != nil {
		return err
	}
	p, err := newPublisher(ctx, connection, "bench-fan-out")
	if err != nil {
		return err
	}
	large, err := p.channel(ctx, db, "bench-large", 1, many)
	if err != nil {
		return err
	}
	small, err := p.channel(ctx, db, "bench-small", 1, 1)
	if err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	// Followers from the first to the last, evenly.
	following, err := open(ctx, s.web, connected, func(n int) string {
		return follow(1 + n*(many-1)/(connected-1))
	})
	if err != nil {
		return err
	}
	defer following.close()
	var speeds, firsts, lasts, publishLarge, publishSmall, ratios []float64
	for n := range b.runs + 1 {
		following.expect()
		began := time.Now()
		talk, err := p.publish(ctx, small, fmt.Sprint("Small ", n))
		if err != nil {
			return err
		}
		forOne := time.Since(began)
		if err := awaitFanOut(ctx, db, talk.Name); err != nil {
			return err
		}
		if err := following.await(ctx, 1); err != nil {
			return err
		}
		following.expect()
		began = time.Now()
		if talk, err = p.publish(ctx, large, fmt.Sprint("Large ", n)); err != nil {
			return err
		}
		forMany := time.Since(began)
		if err := awaitFanOut(ctx, db, talk.Name); err != nil {
			return err
		}
		took := time.Since(began)
		if err := following.await(ctx, connected); err != nil {
			return err
		}
		if n == 0 {
			continue // pages of the tables are made, plans are made
		}
		speeds = append(speeds, float64(many)/took.Seconds())
		since := func(at int64) float64 { return time.Unix(0, at).Sub(began).Seconds() * 1e3 }
		firsts, lasts = append(firsts, since(following.first.Load())), append(lasts, since(following.last.Load()))
		publishLarge, publishSmall = append(publishLarge, forMany.Seconds()*1e3), append(publishSmall, forOne.Seconds()*1e3)
		ratios = append(ratios, forMany.Seconds()/forOne.Seconds())
	}
	b.table("fanout", "one follower",
		row{what: fmt.Sprintf("inbox rows a second, %d followers", many), ours: spread(speeds, "%.0f"),
			target: fmt.Sprintf("at least %d", fanOutSpeed), met: median(speeds) >= fanOutSpeed},
		row{what: "publishing", ours: spread(publishLarge, "%.1f ms"), against: spread(publishSmall, "%.1f ms"), ratio: fmt.Sprintf("%.2f", median(ratios)),
			target: fmt.Sprintf("under %.1f", publishRatio), met: median(ratios) < publishRatio},
		row{what: "the first connected follower hears", ours: spread(firsts, "%.0f ms"),
			target: fmt.Sprintf("within %v", firstFollower), met: median(firsts) <= float64(firstFollower.Milliseconds())},
		row{what: fmt.Sprintf("the last of %d connected hears", connected), ours: spread(lasts, "%.0f ms")})
	return nil
}

// follow is a browser's request for the stream of a follower's inbox.
func follow(follower int) string {
	return "GET /inbox/stream HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: text/event-stream\r\nCookie: session=" + sessionOf(follower) + "\r\n\r\n"
}

// awaitFanOut waits until a talk is in every inbox it goes to.
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
