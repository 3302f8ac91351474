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
	// sampleInterval is the time between snapshots of a watcher.
	sampleInterval = time.Second
	// sampleTimeout bounds taking a sample.
	sampleTimeout = 3 * time.Second
	// rateSamples is the number of samples that a rate averages over. Consumers
	// report their counts once a second, so that fewer samples would make it jump.
	rateSamples = 5
	// maxSampleAge is how old a sample can be to be shared with a new request.
	maxSampleAge = 2 * sampleInterval
)

// sample is the state of the queues at one time.
type sample struct {
	at          time.Time
	depths      map[string]queue.Depth
	consumers   []ledger.Consumer
	deadLetters map[string]int64 // by queue
	outbox      ledger.OutboxDepth
	brokerErr   error // why the broker is unavailable
}

// takeSample reads the state of the queues. Without a broker it has no depths.
func (s *Service) takeSample(ctx context.Context) (t sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	t.at = time.Now()
	if t.consumers, err = ledger.Consumers(ctx, s.deps.DB); err != nil {
		return t, err
	}
	if t.deadLetters, err = ledger.CountDeadLetters(ctx, s.deps.DB); err != nil {
		return t, err
	}
	if t.outbox, err = ledger.ReadOutboxDepth(ctx, s.deps.DB); err != nil {
		return t, err
	}
	if t.brokerErr = s.deps.BrokerHealth(); t.brokerErr != nil {
		return t, nil
	}
	t.depths, err = s.deps.Broker.Depths(ctx)
	return t, err
}

// addSample stores a sample and drops those too old for a rate.
func (s *Service) addSample(t sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, t)
	s.samples = s.samples[max(0, len(s.samples)-rateSamples-1):]
}

// recentSamples returns the samples of the period that rates average over.
func (s *Service) recentSamples() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.samples) > 0 && time.Since(s.samples[0].at) > (rateSamples+2)*sampleInterval {
		s.samples = s.samples[1:]
	}
	return s.samples[:len(s.samples):len(s.samples)]
}

// counts are what the consumers of a queue did between two samples.
type counts struct{ acknowledged, redelivered, dead int64 }

// countsBetween returns the counts of each queue.
func countsBetween(first, last sample) map[string]counts {
	before := map[[2]string]ledger.Consumer{}
	for _, c := range first.consumers {
		before[[2]string{c.Process, c.Queue}] = c
	}
	byQueue := map[string]counts{}
	for _, c := range last.consumers {
		// A new consumer has no previous counts: all of its counts are from this period.
		previous := before[[2]string{c.Process, c.Queue}]
		sum := byQueue[c.Queue]
		sum.acknowledged += c.Acknowledged - previous.Acknowledged
		sum.redelivered += c.Redelivered - previous.Redelivered
		sum.dead += c.Dead - previous.Dead
		byQueue[c.Queue] = sum
	}
	return byQueue
}

func total(d queue.Depth) int64 { return d.Ready + d.Delayed + d.Unacknowledged }

// snapshot returns the state of the latest sample, which is the last, with rates
// over all samples.
func (s *Service) snapshot(samples []sample) *queuepb.Snapshot {
	first, last := samples[0], samples[len(samples)-1]
	snapshot := &queuepb.Snapshot{
		Time: timestamppb.New(last.at), Engine: s.deps.Engine,
		Exchanges: s.topology.exchanges, Bindings: s.topology.bindings,
		OutboxCount: last.outbox.Count, BrokerUp: last.brokerErr == nil, UnroutableCount: last.deadLetters[ledger.Unroutable],
	}
	if last.brokerErr != nil {
		snapshot.BrokerProblem = last.brokerErr.Error()
	}
	if !last.outbox.Oldest.IsZero() {
		snapshot.OutboxOldestPublishTime = timestamppb.New(last.outbox.Oldest)
	}
	byQueue, seconds := countsBetween(first, last), last.at.Sub(first.at).Seconds()
	for _, q := range s.topology.queues {
		d := last.depths[q.Name]
		response := &queuepb.Queue{
			Name: q.Name, Exclusive: q.Exclusive, DeliveryLimit: int32(q.DeliveryLimit), Test: s.topology.tests[q.Name],
			ReadyCount: d.Ready, DelayedCount: d.Delayed, UnacknowledgedCount: d.Unacknowledged, DeadLetterCount: last.deadLetters[q.Name],
		}
		if !d.Oldest.IsZero() {
			response.OldestPublishTime = timestamppb.New(d.Oldest)
		}
		for _, c := range last.consumers {
			if c.Queue != q.Name {
				continue
			}
			response.RedeliveredCount += c.Redelivered
			response.Consumers = append(response.Consumers, &queuepb.Consumer{
				Process: c.Process, Host: c.Host, Prefetch: int32(c.Prefetch), Concurrency: int32(c.Concurrency),
				HeldCount: int32(c.Held), AcknowledgedCount: c.Acknowledged, BeginTime: timestamppb.New(c.Began),
			})
		}
		if seconds > 0 {
			c := byQueue[q.Name]
			response.OutRate = float64(c.acknowledged) / seconds
			response.RedeliveryRate = float64(c.redelivered) / seconds
			// Messages that came in have left the queue or added to its depth.
			in := c.acknowledged + c.dead + total(d) - total(first.depths[q.Name])
			response.InRate = max(0, float64(in)/seconds)
		}
		snapshot.Queues = append(snapshot.Queues, response)
	}
	return snapshot
}
