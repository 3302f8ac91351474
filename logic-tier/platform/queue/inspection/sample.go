package inspection

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

const (
	// sampleEvery is how often a watcher hears.
	sampleEvery = time.Second
	// sampleTimeout bounds the reading of one.
	sampleTimeout = 3 * time.Second
	// rateOver is how many samples a rate is taken over: consumers say once a
	// second what they did, so over fewer it would jump.
	rateOver = 5
	// fresh is how old a sample may be that somebody else's watching took.
	fresh = 2 * sampleEvery
)

// sample is how the queues were at a moment.
type sample struct {
	at        time.Time
	depths    map[string]queue.Depth
	consumers []ledger.Consumer
	letters   map[string]int64
	outbox    ledger.OutboxDepth
	down      error // why the broker does not answer
}

// take reads a sample.
func (s *Service) take(ctx context.Context) (t sample, err error) {
	ctx, done := context.WithTimeout(ctx, sampleTimeout)
	defer done()
	t.at = time.Now()
	if t.consumers, err = ledger.Consumers(ctx, s.needs.DB); err != nil {
		return t, err
	}
	if t.letters, err = ledger.CountDeadLetters(ctx, s.needs.DB); err != nil {
		return t, err
	}
	if t.outbox, err = ledger.ReadOutboxDepth(ctx, s.needs.DB); err != nil {
		return t, err
	}
	if t.down = s.needs.Up(); t.down != nil {
		return t, nil // what it holds is not known
	}
	t.depths, err = s.needs.Broker.Depths(ctx)
	return t, err
}

// add keeps a sample, and forgets those that no rate needs.
func (s *Service) add(t sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, t)
	s.samples = s.samples[max(0, len(s.samples)-rateOver-1):]
}

// recent returns the samples that are still worth something.
func (s *Service) recent() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.samples) > 0 && time.Since(s.samples[0].at) > (rateOver+2)*sampleEvery {
		s.samples = s.samples[1:]
	}
	return s.samples[:len(s.samples):len(s.samples)]
}

// work is what consumers did between two samples.
type work struct{ acknowledged, redelivered, dead int64 }

func workBetween(first, last sample) map[string]work {
	before := map[[2]string]ledger.Consumer{}
	for _, c := range first.consumers {
		before[[2]string{c.Process, c.Queue}] = c
	}
	all := map[string]work{}
	for _, c := range last.consumers {
		// Of one that was not there before, all that it did counts.
		was := before[[2]string{c.Process, c.Queue}]
		w := all[c.Queue]
		w.acknowledged += c.Acknowledged - was.Acknowledged
		w.redelivered += c.Redelivered - was.Redelivered
		w.dead += c.Dead - was.Dead
		all[c.Queue] = w
	}
	return all
}

func waiting(d queue.Depth) int64 { return d.Ready + d.Delayed + d.Unacknowledged }

// snapshot says how the queues are, from samples, the latest last.
func (s *Service) snapshot(samples []sample) *queuepb.Snapshot {
	first, last := samples[0], samples[len(samples)-1]
	made := &queuepb.Snapshot{
		Time: timestamppb.New(last.at), Engine: s.needs.Engine,
		Exchanges: s.topology.exchanges, Bindings: s.topology.bindings,
		OutboxCount: last.outbox.Count, BrokerUp: last.down == nil, UnroutableCount: last.letters[ledger.Unroutable],
	}
	if last.down != nil {
		made.BrokerProblem = last.down.Error()
	}
	if !last.outbox.Oldest.IsZero() {
		made.OutboxOldestPublishTime = timestamppb.New(last.outbox.Oldest)
	}
	did, seconds := workBetween(first, last), last.at.Sub(first.at).Seconds()
	for _, q := range s.topology.queues {
		d := last.depths[q.Name]
		of := &queuepb.Queue{
			Name: q.Name, Exclusive: q.Exclusive, DeliveryLimit: int32(q.DeliveryLimit), Test: s.topology.tests[q.Name],
			ReadyCount: d.Ready, DelayedCount: d.Delayed, UnacknowledgedCount: d.Unacknowledged, DeadLetterCount: last.letters[q.Name],
		}
		if !d.Oldest.IsZero() {
			of.OldestPublishTime = timestamppb.New(d.Oldest)
		}
		for _, c := range last.consumers {
			if c.Queue != q.Name {
				continue
			}
			of.RedeliveredCount += c.Redelivered
			of.Consumers = append(of.Consumers, &queuepb.Consumer{
				Process: c.Process, Host: c.Host, Prefetch: int32(c.Prefetch), Concurrency: int32(c.Concurrency),
				HeldCount: int32(c.Held), AcknowledgedCount: c.Acknowledged, BeginTime: timestamppb.New(c.Began),
			})
		}
		if seconds > 0 {
			w := did[q.Name]
			of.OutRate = float64(w.acknowledged) / seconds
			of.RedeliveryRate = float64(w.redelivered) / seconds
			// What came in left again or waits.
			came := w.acknowledged + w.dead + waiting(d) - waiting(first.depths[q.Name])
			of.InRate = max(0, float64(came)/seconds)
		}
		made.Queues = append(made.Queues, of)
	}
	return made
}
