package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// fakeQueues is a queue service with canned responses.
type fakeQueues struct {
	queuepb.UnimplementedQueuesServer

	mu           sync.Mutex
	requests     []proto.Message
	snapshots    chan *queuepb.Snapshot // WatchQueues streams them; closing it fails the stream
	deadLetter   *queuepb.DeadLetter
	testMessages []*queuepb.GetTestMessageResponse // one per call; the last one repeats
}

func (s *fakeQueues) record(request proto.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
}

func (s *fakeQueues) WatchQueues(_ *queuepb.WatchQueuesRequest, stream grpc.ServerStreamingServer[queuepb.WatchQueuesResponse]) error {
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case snapshot, ok := <-s.snapshots:
			if !ok {
				return status.Error(codes.PermissionDenied, "no more snapshots")
			}
			if err := stream.Send(&queuepb.WatchQueuesResponse{Snapshot: snapshot}); err != nil {
				return err
			}
		}
	}
}

func (s *fakeQueues) GetQueues(context.Context, *queuepb.GetQueuesRequest) (*queuepb.GetQueuesResponse, error) {
	return &queuepb.GetQueuesResponse{Snapshot: example()}, nil
}

func (s *fakeQueues) ListDeadLetters(_ context.Context, r *queuepb.ListDeadLettersRequest) (*queuepb.ListDeadLettersResponse, error) {
	s.record(r)
	return &queuepb.ListDeadLettersResponse{DeadLetters: []*queuepb.DeadLetter{s.deadLetter}, NextPageToken: "more"}, nil
}

func (s *fakeQueues) GetDeadLetter(_ context.Context, r *queuepb.GetDeadLetterRequest) (*queuepb.GetDeadLetterResponse, error) {
	s.record(r)
	if r.Id != s.deadLetter.Id || r.Queue != s.deadLetter.Queue {
		return nil, status.Error(codes.NotFound, "dead letter not found")
	}
	return &queuepb.GetDeadLetterResponse{DeadLetter: s.deadLetter}, nil
}

func (s *fakeQueues) RedriveDeadLetters(_ context.Context, r *queuepb.RedriveDeadLettersRequest) (*queuepb.RedriveDeadLettersResponse, error) {
	s.record(r)
	return &queuepb.RedriveDeadLettersResponse{RedrivenCount: 1}, nil
}

func (s *fakeQueues) DiscardDeadLetters(_ context.Context, r *queuepb.DiscardDeadLettersRequest) (*queuepb.DiscardDeadLettersResponse, error) {
	s.record(r)
	return &queuepb.DiscardDeadLettersResponse{DiscardedCount: 5}, nil
}

func (s *fakeQueues) SendTestMessage(_ context.Context, r *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
	s.record(r)
	return &queuepb.SendTestMessageResponse{Id: 17}, nil
}

func (s *fakeQueues) GetTestMessage(context.Context, *queuepb.GetTestMessageRequest) (*queuepb.GetTestMessageResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	response := s.testMessages[0]
	if len(s.testMessages) > 1 {
		s.testMessages = s.testMessages[1:]
	}
	return response, nil
}

// noon is the time of the example.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)

// example returns a snapshot with a growing backlog and a queue without consumers.
func example() *queuepb.Snapshot {
	return &queuepb.Snapshot{
		Time: timestamppb.New(noon), Engine: "rabbitmq", BrokerUp: true, OutboxCount: 12, OutboxOldestPublishTime: timestamppb.New(noon.Add(-3 * time.Second)),
		UnroutableCount: 2,
		Exchanges: []*queuepb.Exchange{
			{Name: "operations", Type: "topic", Producers: []string{"operations"}}, {Name: "test.fanout", Type: "fanout", Test: true},
		},
		Bindings: []*queuepb.Binding{
			{Exchange: "operations", Queue: "transfers.export", Pattern: "operation.started.export"},
			{Exchange: "operations", Queue: "transfers.import", Pattern: "operation.started.*"},
			{Exchange: "test.fanout", Queue: "test.blue"},
		},
		Queues: []*queuepb.Queue{
			{Name: "test.blue", DeliveryLimit: 3, Test: true, Exclusive: true, Consumers: []*queuepb.Consumer{{Host: "b", Process: "b-1"}, {Host: "a", Process: "a-1"}}},
			{Name: "transfers.export", ReadyCount: 5, OldestPublishTime: timestamppb.New(noon.Add(-26 * time.Hour))},
			{
				Name: "transfers.import", ReadyCount: 1204, UnacknowledgedCount: 4, InRate: 35.24, OutRate: 4, DeadLetterCount: 3, RedeliveredCount: 17,
				OldestPublishTime: timestamppb.New(noon.Add(-95 * time.Second)),
				Consumers:         []*queuepb.Consumer{{Host: "worker-7", Process: "worker-7-99", Prefetch: 16, Concurrency: 4, HeldCount: 4, AcknowledgedCount: 1234}},
			},
		},
	}
}

// newCall serves s, and returns a call of a queue command and its output.
func newCall(t *testing.T, s *fakeQueues, args ...string) (*queueCall, *strings.Builder) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	queuepb.RegisterQueuesServer(server, s)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	out := &strings.Builder{}
	return &queueCall{client: newClient(connection), out: out, args: args}, out
}

// checkOutput compares output with want, whose leading newline it ignores.
func checkOutput(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// The first snapshot has no rates, so the second is listed.
func TestListQueuesShowsSecondSnapshot(t *testing.T) {
	first := example()
	for _, q := range first.Queues {
		q.InRate, q.OutRate = 0, 0
	}
	s := &fakeQueues{snapshots: make(chan *queuepb.Snapshot, 2)}
	s.snapshots <- first
	s.snapshots <- example()
	q, out := newCall(t, s)
	if err := listQueues(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	checkOutput(t, out.String(), `
rabbitmq · broker connected · outbox 12, oldest 3s · unroutable 2 (talksctl queue dead-letters unroutable) · 12:00:00

QUEUE             READY  DELAYED  UNACKED  OLDEST  IN/S  OUT/S  REDELIVERED  DEAD
test.blue             0        0        0       -   0.0    0.0            0     0
transfers.export      5        0        0     26h   0.0    0.0            0     0    no consumer
transfers.import   1204        0        4     95s  35.2    4.0           17     3    growing backlog, dead letters

CONSUMER OF       PREFETCH  CONCURRENCY  UNACKED  ACKNOWLEDGED  HOST      PROCESS
test.blue                0            0        0             0  a         a-1
test.blue                0            0        0             0  b         b-1
transfers.import        16            4        4          1234  worker-7  worker-7-99
`)
}

func TestSummaryStartsWithUnavailableBroker(t *testing.T) {
	s := example()
	s.BrokerUp, s.BrokerProblem, s.UnroutableCount = false, "connection refused", 0
	if got := summary(s); !strings.HasPrefix(got, "rabbitmq · BROKER UNAVAILABLE: connection refused · outbox 12") || strings.Contains(got, "talksctl") {
		t.Error(got)
	}
	if got := summary(&queuepb.Snapshot{Engine: "postgres", Time: timestamppb.New(noon)}); got != "postgres · unroutable 0 · 12:00:00" {
		t.Error(got)
	}
}

func TestWatchQueuesPrintsEachSnapshot(t *testing.T) {
	s := &fakeQueues{snapshots: make(chan *queuepb.Snapshot, 2)}
	s.snapshots <- example()
	s.snapshots <- example()
	close(s.snapshots)
	q, out := newCall(t, s)
	q.watch = true
	if err := listQueues(t.Context(), q); err == nil || !strings.Contains(err.Error(), "no more snapshots") {
		t.Errorf("got %v, want the stream's error", err)
	}
	if n := strings.Count(out.String(), "CONSUMER OF"); n != 2 {
		t.Errorf("got %d lists, want 2:\n%s", n, out)
	}
	if got := string(repaint([]byte("a\nb\n"), true)); got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("repaint: got %q", got)
	}
}

func TestShowTopologyDrawsBindings(t *testing.T) {
	q, out := newCall(t, &fakeQueues{})
	if err := showTopology(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	checkOutput(t, out.String(), `
operations → operations (topic)
  ├─ operation.started.export ─→ transfers.export  → no consumer
  └─ operation.started.* ──────→ transfers.import  → 1 process on worker-7

test.fanout (fanout)
  └─ ──────────────────────────→ test.blue         → 2 processes on a, b, each with its own queue

`)
}

func exampleDeadLetter() *queuepb.DeadLetter {
	died := timestamppb.New(noon)
	return &queuepb.DeadLetter{
		Queue: "media.recording", Id: 7, Type: "operation.started", Exchange: "operations", RoutingKey: "operation.started.recording", DeliveryCount: 20,
		DeathTime: died, PublishTime: died, Error: "ffmpeg:\n  moov atom not found", Headers: map[string]string{"kind": "recording"}, Body: `{"operation":"operations/7"}`,
		History: []*queuepb.Failure{{DeliveryCount: 20, Time: died, Host: "worker-7", Error: "ffmpeg:\n  moov atom not found"}},
	}
}

func TestDeadLettersAreListedAndShown(t *testing.T) {
	s := &fakeQueues{deadLetter: exampleDeadLetter()}
	q, out := newCall(t, s, "unroutable")
	if err := listDeadLetters(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if request := s.requests[0].(*queuepb.ListDeadLettersRequest); request.Queue != "" || !request.Unroutable {
		t.Errorf("got request %v", request)
	}
	checkOutput(t, out.String(), `
QUEUE            ID  DELIVERIES  DEAD-LETTERED        TYPE               ROUTING KEY                  ERROR
media.recording   7          20  2026-05-04 12:00:00  operation.started  operation.started.recording  ffmpeg: moov atom not found
Showing the latest 1. There are older ones.
`)
	q, out = newCall(t, s, "media.recording", "7")
	if err := showDeadLetter(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"header        kind=recording", "error         ffmpeg:\n  moov", "  20  2026-05-04 12:00:00  worker-7  ffmpeg: moov", "{\n  \"operation\": \"operations/7\"\n}"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("output does not contain %q:\n%s", part, out)
		}
	}
	q, _ = newCall(t, s, "media.recording", "8")
	if err := showDeadLetter(t.Context(), q); err == nil || !strings.Contains(err.Error(), "dead letter not found") {
		t.Errorf("unknown id: got %v, want NotFound", err)
	}
}

func TestDeadLettersAreRedrivenAndDiscarded(t *testing.T) {
	s := &fakeQueues{}
	q, out := newCall(t, s, "media.recording", "7", "8")
	if err := redrive(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if request := s.requests[0].(*queuepb.RedriveDeadLettersRequest); request.Queue != "media.recording" || len(request.Ids) != 2 || request.All {
		t.Errorf("got request %v", request)
	}
	checkOutput(t, out.String(), `
Redrove 1 dead letter of media.recording.
1 not found: see "talksctl queue dead-letters media.recording".
`)
	q, out = newCall(t, s, "unroutable")
	q.all = true
	if err := discard(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if request := s.requests[1].(*queuepb.DiscardDeadLettersRequest); request.Queue != "" || len(request.Ids) != 0 || !request.All {
		t.Errorf("got request %v", request)
	}
	checkOutput(t, out.String(), "Deleted 5 dead letters of unroutable.\n")
}

func TestSendTestFollowsMessageUntilSettled(t *testing.T) {
	binding := &queuepb.Binding{Exchange: "test.fanout", Queue: "test.blue"}
	delivery := func(count int32, testMessages string) *queuepb.TestDelivery {
		return &queuepb.TestDelivery{Queue: "test.blue", DeliveryCount: count, Host: "a", Process: "a-1", Outcome: testMessages, Time: timestamppb.New(noon)}
	}
	s := &fakeQueues{testMessages: []*queuepb.GetTestMessageResponse{
		{},
		{MatchingBindings: []*queuepb.Binding{binding}, Deliveries: []*queuepb.TestDelivery{delivery(1, "failed")}},
		{MatchingBindings: []*queuepb.Binding{binding}, Deliveries: []*queuepb.TestDelivery{delivery(1, "failed"), delivery(2, "failed")}},
		{MatchingBindings: []*queuepb.Binding{binding}, Deliveries: []*queuepb.TestDelivery{delivery(1, "failed"), delivery(2, "failed"), delivery(3, "failed")}},
	}}
	q, out := newCall(t, s, "test.fanout")
	q.test = testFlags{key: "k", headers: map[string]string{"a": "b"}, priority: 1 << 40, delay: time.Second, fail: 9, reject: true, text: "Hello"}
	if err := sendTest(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	request := s.requests[0].(*queuepb.SendTestMessageRequest)
	if request.RoutingKey != "k" || request.Headers["a"] != "b" || request.Priority <= 9 || request.Delay.AsDuration() != time.Second || request.FailingDeliveries != 9 || !request.Reject || request.Text != "Hello" {
		t.Errorf("got request %v", request)
	}
	checkOutput(t, out.String(), `
Message 17 published to test.fanout
  test.fanout → test.blue
12:00:00  test.blue: delivery 1 failed on a (a-1)
12:00:00  test.blue: delivery 2 failed on a (a-1)
12:00:00  test.blue: delivery 3 failed on a (a-1)
`)
}

func TestSendTestReportsUnmatchedMessage(t *testing.T) {
	q, out := newCall(t, &fakeQueues{testMessages: []*queuepb.GetTestMessageResponse{{}}}, "test.direct")
	if err := sendTest(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "No binding matches the message: see \"talksctl queue dead-letters unroutable\".\n") {
		t.Error(out)
	}
}

// Invalid command lines fail before the logic tier is called, with the fix.
func TestQueueRejectsInvalidArguments(t *testing.T) {
	t.Setenv("CERTIFICATES", t.TempDir())
	for _, c := range []struct{ args, want string }{
		{"purge", "use dead-letters, discard, redrive, send, show, topology, or none"},
		{"show media.recording", "name its queue and id"},
		{"show media.recording 7 8", `unexpected argument "8"`},
		{"redrive", "queue required"},
		{"send", "exchange required"},
		{"send test.direct --header nonsense", "use NAME=VALUE"},
		{"send test.direct --delay soon", "delay"},
		{"topology --watch", "flag provided but not defined"},
		{"--watch", "set --certificates"},
		{"send --key a test.direct --text b", "set --certificates"},
	} {
		err := runQueue(t.Context(), strings.Fields(c.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.args, err, c.want)
		}
	}
	for _, c := range []struct {
		args []string
		all  bool
		want string
	}{
		{[]string{"media.recording"}, false, "--all for every dead letter of media.recording"},
		{[]string{"media.recording", "7"}, true, "ids and --all are mutually exclusive"},
		{[]string{"media.recording", "seven"}, false, `invalid message id "seven"`},
	} {
		q := &queueCall{args: c.args, all: c.all}
		if _, err := q.selectedIDs(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.args, err, c.want)
		}
	}
}
