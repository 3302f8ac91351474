package inspection

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"techtalks.example/logic-tier/platform/apperror"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

var errDraining = apperror.New(apperror.Unavailable, "DRAINING", "this server is going away; connect again").RetryIn(time.Second)

// watcher is a WatchQueues call. Only the latest waits for it.
type watcher struct{ latest chan *queuepb.Snapshot }

func (w *watcher) hear(snapshot *queuepb.Snapshot) {
	for {
		select {
		case w.latest <- snapshot:
			return
		case <-w.latest: // what it has not read is old
		}
	}
}

// WatchQueues says how the queues are every second; see the contract.
func (s *Service) WatchQueues(_ *queuepb.WatchQueuesRequest, call grpc.ServerStreamingServer[queuepb.WatchQueuesResponse]) error {
	first, err := s.now(call.Context())
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

// GetQueues says how the queues are; see the contract.
func (s *Service) GetQueues(ctx context.Context, _ *queuepb.GetQueuesRequest) (*queuepb.GetQueuesResponse, error) {
	snapshot, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	return &queuepb.GetQueuesResponse{Snapshot: snapshot}, nil
}

// now returns a snapshot: of the samples that somebody's watching took, or of one
// taken now.
func (s *Service) now(ctx context.Context) (*queuepb.Snapshot, error) {
	samples := s.recent()
	if len(samples) == 0 || time.Since(samples[len(samples)-1].at) > fresh {
		t, err := s.take(ctx)
		if err != nil {
			return nil, err
		}
		s.add(t)
		samples = s.recent()
	}
	return s.snapshot(samples), nil
}

// takeSamples takes a sample every second while somebody watches: one for all.
func (s *Service) takeSamples(ctx context.Context) error {
	defer close(s.draining)
	for {
		watchers := s.watching()
		if len(watchers) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-s.watched:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sampleEvery):
		}
		t, err := s.take(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.needs.Log.Warn("queue: those who watch hear nothing new", "error", err)
			}
			continue
		}
		s.add(t)
		snapshot := s.snapshot(s.recent())
		for _, w := range s.watching() {
			w.hear(snapshot)
		}
	}
}

func (s *Service) watching() []*watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*watcher, 0, len(s.watchers))
	for w := range s.watchers {
		all = append(all, w)
	}
	return all
}
