package transport

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// restarting is a tier that does not answer so many calls, and then answers.
type restarting struct {
	talkspb.UnimplementedTalksServer

	mu       sync.Mutex
	away     int
	requests []string // their ids
}

func (r *restarting) CreateTalk(_ context.Context, request *talkspb.CreateTalkRequest) (*talkspb.CreateTalkResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request.RequestId)
	if len(r.requests) <= r.away {
		return nil, status.Error(codes.Unavailable, "restarting")
	}
	return &talkspb.CreateTalkResponse{}, nil
}

func (r *restarting) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

func dialRestarting(t *testing.T, away int) (*restarting, talkspb.TalksClient) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &restarting{away: away}
	g := grpc.NewServer()
	talkspb.RegisterTalksServer(g, r)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	connection, err := Dial(listener.Addr().String(), insecure.NewCredentials(), []protoreflect.FileDescriptor{talkspb.File_techtalks_talks_v1_talks_proto})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return r, talkspb.NewTalksClient(connection)
}

// Who publishes while the database is restarted waits for it, and publishes once: every
// try has the same id, which the caller need not have given.
func TestACallWaitsOutARestart(t *testing.T) {
	r, talks := dialRestarting(t, retryAttempts-1)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	request := &talkspb.CreateTalkRequest{Parent: "channels/looms"}
	if _, err := talks.CreateTalk(ctx, request); err != nil {
		t.Fatal(err)
	}
	seen := r.seen()
	if len(seen) != retryAttempts || len(seen[0]) != 36 || len(slices.Compact(seen)) != 1 {
		t.Errorf("the tries have the ids %q", seen)
	}
	if request.RequestId != "" {
		t.Errorf("the caller's own request has the id %s now: used again it would be the same", request.RequestId)
	}
	request.RequestId = NewRequestID()
	if _, err := talks.CreateTalk(ctx, request); err != nil {
		t.Fatal(err)
	}
	if got := r.seen(); got[len(got)-1] != request.RequestId {
		t.Errorf("the id %s arrives as %s", request.RequestId, got[len(got)-1])
	}
}

// A tier that stays away is not asked many times as often as one that is there.
func TestTriesEndWhenNothingIsAnswered(t *testing.T) {
	const callers = 1200
	r, talks := dialRestarting(t, callers*retryAttempts)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if _, err := talks.CreateTalk(ctx, &talkspb.CreateTalkRequest{}); status.Code(err) != codes.Unavailable {
				t.Errorf("a tier that is away is answered for: %v", err)
			}
		})
	}
	group.Wait()
	// Half the tokens may be spent, and those who wait for a try then still make it.
	if tries := len(r.seen()); tries > callers+retryTokens {
		t.Errorf("%d calls are made %d times", callers, tries)
	}
}
