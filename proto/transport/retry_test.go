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

// restartingServer fails its first failures calls with UNAVAILABLE.
type restartingServer struct {
	talkspb.UnimplementedTalksServer

	mu       sync.Mutex
	failures int
	requests []string // the request IDs
}

func (r *restartingServer) CreateTalk(_ context.Context, request *talkspb.CreateTalkRequest) (*talkspb.CreateTalkResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request.RequestId)
	if len(r.requests) <= r.failures {
		return nil, status.Error(codes.Unavailable, "restarting")
	}
	return &talkspb.CreateTalkResponse{}, nil
}

func (r *restartingServer) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

func dialRestartingServer(t *testing.T, failures int) (*restartingServer, talkspb.TalksClient) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &restartingServer{failures: failures}
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

// A talk that is published during a restart is published once: all attempts carry the same
// request ID, which the client generates.
func TestRetriesCarryTheSameRequestID(t *testing.T) {
	r, talks := dialRestartingServer(t, retryAttempts-1)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	request := &talkspb.CreateTalkRequest{Parent: "channels/looms"}
	if _, err := talks.CreateTalk(ctx, request); err != nil {
		t.Fatal(err)
	}
	seen := r.seen()
	if len(seen) != retryAttempts || len(seen[0]) != 36 || len(slices.Compact(seen)) != 1 {
		t.Errorf("got attempts with the IDs %q, want %d with the same UUID", seen, retryAttempts)
	}
	if request.RequestId != "" {
		t.Errorf("got request ID %s in the caller's message, want it unchanged: reusing the message would reuse the ID", request.RequestId)
	}
	request.RequestId = NewRequestID()
	if _, err := talks.CreateTalk(ctx, request); err != nil {
		t.Fatal(err)
	}
	if got := r.seen(); got[len(got)-1] != request.RequestId {
		t.Errorf("got request ID %s, want the caller's %s", got[len(got)-1], request.RequestId)
	}
}

// Retry throttling keeps an outage from multiplying the load.
func TestRetriesAreThrottledDuringAnOutage(t *testing.T) {
	const callers = 1200
	r, talks := dialRestartingServer(t, callers*retryAttempts)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if _, err := talks.CreateTalk(ctx, &talkspb.CreateTalkRequest{}); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v during the outage, want UNAVAILABLE", err)
			}
		})
	}
	group.Wait()
	// Half of the tokens can be spent, and calls that are backing off by then are still retried.
	if attempts := len(r.seen()); attempts > callers+retryTokens {
		t.Errorf("got %d attempts for %d calls, want at most %d", attempts, callers, callers+retryTokens)
	}
}
