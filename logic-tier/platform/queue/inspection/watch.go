package inspection

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/apperror"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

var errDraining = apperror.New(apperror.Unavailable, "DRAINING", "the server is shutting down; reconnect").RetryIn(time.Second)

// watcher is a WatchQueues call. Its channel holds the latest unsent snapshot.
type watcher struct{ latest chan *queuepb.Snapshot }

// offer replaces an unsent snapshot.
func (w *watcher) offer(snapshot *queuepb.Snapshot) {
	for {
		select {
		case w.latest <- snapshot:
			return
		case <-w.latest:
		}
	}
}

// WatchQueues sends a snapshot of the queues every second; see the contract.
func (s *Service) WatchQueues(_ *queuepb.WatchQueuesRequest, call grpc.ServerStreamingServer[queuepb.WatchQueuesResponse]) error {
	first, err := s.currentSnapshot(call.Context())
	if err != nil {
		return err
	}
	w := &watcher{latest: make(chan *queuepb.Snapshot, 1)}
	w.latest <- first
	s.mu.Lock()
	s.watchers[w] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}()
	select {
	case s.watched <- struct{}{}:
	default:
	}
	for {
		select {
		case <-call.Context().Done():
			return call.Context().Err()
		case <-s.draining:
			return errDraining
		case snapshot := <-w.latest:
			if err := call.Send(&queuepb.WatchQueuesResponse{Snapshot: snapshot}); err != nil {
				return err
			}
		}
	}
}

// GetQueues returns a snapshot of the queues; see the contract.
func (s *Service) GetQueues(ctx context.Context, _ *queuepb.GetQueuesRequest) (*queuepb.GetQueuesResponse, error) {
	snapshot, err := s.currentSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &queuepb.GetQueuesResponse{Snapshot: snapshot}, nil
}

// currentSnapshot returns a snapshot of recent samples that were taken for watchers,
// or else of a new sample.
func (s *Service) currentSnapshot(ctx context.Context) (*queuepb.Snapshot, error) {
	samples := s.recentSamples()
	if len(samples) == 0 || time.Since(samples[len(samples)-1].at) > maxSampleAge {
		t, err := s.takeSample(ctx)
		if err != nil {
			return nil, err
		}
		s.addSample(t)
		samples = s.recentSamples()
	}
	return s.snapshot(samples), nil
}

// takeSamples takes one sample a second for all watchers while there are any.
func (s *Service) takeSamples(ctx context.Context) error {
	defer close(s.draining)
	for {
		if len(s.currentWatchers()) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-s.watched:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sampleInterval):
		}
		t, err := s.takeSample(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.deps.Log.Warn("queue: cannot update watchers; retrying", "error", err)
			}
			continue
		}
		s.addSample(t)
		snapshot := s.snapshot(s.recentSamples())
		for _, w := range s.currentWatchers() {
			w.offer(snapshot)
		}
	}
}

func (s *Service) currentWatchers() []*watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	watchers := make([]*watcher, 0, len(s.watchers))
	for w := range s.watchers {
		watchers = append(watchers, w)
	}
	return watchers
}
