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

// standIn is a logic tier that knows a message queue as it is told.
type standIn struct {
	queuepb.UnimplementedQueuesServer

	mu      sync.Mutex
	asked   []proto.Message
	sent    chan *queuepb.Snapshot // what WatchQueues says; it ends the stream when closed
	letter  *queuepb.DeadLetter
	outcome []*queuepb.GetTestMessageResponse // one a call; then the last
}

func (s *standIn) remember(m proto.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, m)
}

func (s *standIn) WatchQueues(_ *queuepb.WatchQueuesRequest, stream grpc.ServerStreamingServer[queuepb.WatchQueuesResponse]) error {
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case snapshot, more := <-s.sent:
			if !more {
				return status.Error(codes.PermissionDenied, "it has seen enough")
			}
			if err := stream.Send(&queuepb.WatchQueuesResponse{Snapshot: snapshot}); err != nil {
				return err
			}
		}
	}
}

func (s *standIn) GetQueues(context.Context, *queuepb.GetQueuesRequest) (*queuepb.GetQueuesResponse, error) {
	return &queuepb.GetQueuesResponse{Snapshot: example()}, nil
}

func (s *standIn) ListDeadLetters(_ context.Context, r *queuepb.ListDeadLettersRequest) (*queuepb.ListDeadLettersResponse, error) {
	s.remember(r)
	return &queuepb.ListDeadLettersResponse{DeadLetters: []*queuepb.DeadLetter{s.letter}, NextPageToken: "more"}, nil
}

func (s *standIn) GetDeadLetter(_ context.Context, r *queuepb.GetDeadLetterRequest) (*queuepb.GetDeadLetterResponse, error) {
	s.remember(r)
	if r.Id != s.letter.Id || r.Queue != s.letter.Queue {
		return nil, status.Error(codes.NotFound, "there is no such dead letter")
	}
	return &queuepb.GetDeadLetterResponse{DeadLetter: s.letter}, nil
}

func (s *standIn) RedriveDeadLetters(_ context.Context, r *queuepb.RedriveDeadLettersRequest) (*queuepb.RedriveDeadLettersResponse, error) {
	s.remember(r)
	return &queuepb.RedriveDeadLettersResponse{RedrivenCount: 1}, nil
}

func (s *standIn) DiscardDeadLetters(_ context.Context, r *queuepb.DiscardDeadLettersRequest) (*queuepb.DiscardDeadLettersResponse, error) {
	s.remember(r)
	return &queuepb.DiscardDeadLettersResponse{DiscardedCount: 5}, nil
}

func (s *standIn) SendTestMessage(_ context.Context, r *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
	s.remember(r)
	return &queuepb.SendTestMessageResponse{Id: 17}, nil
}

func (s *standIn) GetTestMessage(context.Context, *queuepb.GetTestMessageRequest) (*queuepb.GetTestMessageResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.outcome[0]
	if len(s.outcome) > 1 {
		s.outcome = s.outcome[1:]
	}
	return now, nil
}

// noon is when the example is.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)

// example has a queue that grows and one that nobody consumes.
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

// asking serves the stand-in, and returns what a command is asked with.
func asking(t *testing.T, s *standIn, words ...string) (*queueAsk, *strings.Builder) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	queuepb.RegisterQueuesServer(server, s)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient("passthrough:///stand-in", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	out := &strings.Builder{}
	return &queueAsk{client: newClient(connection), out: out, words: words}, out
}

func reads(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("it reads:\n%s\nwant:\n%s", got, want)
	}
}

// The rates of a first snapshot are nothing: the second is the one that is listed.
func TestTheQueuesAreListed(t *testing.T) {
	first := example()
	for _, q := range first.Queues {
		q.InRate, q.OutRate = 0, 0
	}
	s := &standIn{sent: make(chan *queuepb.Snapshot, 2)}
	s.sent <- first
	s.sent <- example()
	q, out := asking(t, s)
	if err := listQueues(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	reads(t, out.String(), `
rabbitmq · the broker answers · outbox 12, oldest 3s · unroutable 2 (talksctl queue dead-letters unroutable) · 12:00:00

QUEUE             READY  DELAYED  UNACKED  OLDEST  IN/S  OUT/S  REDELIVERED  DEAD
test.blue             0        0        0       -   0.0    0.0            0     0
transfers.export      5        0        0     26h   0.0    0.0            0     0    no consumer
transfers.import   1204        0        4     95s  35.2    4.0           17     3    backlog grows, dead letters

CONSUMER OF       PREFETCH  CONCURRENCY  HOLDS  ACKNOWLEDGED  HOST      PROCESS
test.blue                0            0      0             0  a         a-1
test.blue                0            0      0             0  b         b-1
transfers.import        16            4      4          1234  worker-7  worker-7-99
`)
}

func TestABrokerThatIsAwayIsSaidFirst(t *testing.T) {
	s := example()
	s.BrokerUp, s.BrokerProblem, s.UnroutableCount = false, "connection refused", 0
	if got := headline(s); !strings.HasPrefix(got, "rabbitmq · THE BROKER IS AWAY: connection refused · outbox 12") || strings.Contains(got, "talksctl") {
		t.Error(got)
	}
	if got := headline(&queuepb.Snapshot{Engine: "postgres", Time: timestamppb.New(noon)}); got != "postgres · unroutable 0 · 12:00:00" {
		t.Error(got)
	}
}

// Watching goes on until it is over, a page for each snapshot.
func TestTheQueuesAreWatched(t *testing.T) {
	s := &standIn{sent: make(chan *queuepb.Snapshot, 2)}
	s.sent <- example()
	s.sent <- example()
	close(s.sent)
	q, out := asking(t, s)
	q.watch = true
	if err := listQueues(t.Context(), q); err == nil || !strings.Contains(err.Error(), "it has seen enough") {
		t.Errorf("ended with %v", err)
	}
	if n := strings.Count(out.String(), "CONSUMER OF"); n != 2 {
		t.Errorf("%d pages:\n%s", n, out)
	}
	if got := string(repaint([]byte("a\nb\n"), true)); got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("on a terminal: %q", got)
	}
}

func TestTheTopologyIsDrawn(t *testing.T) {
	q, out := asking(t, &standIn{})
	if err := showTopology(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	reads(t, out.String(), `
operations → operations (topic)
  ├─ operation.started.export ─→ transfers.export  → no consumer
  └─ operation.started.* ──────→ transfers.import  → 1 process on worker-7

test.fanout (fanout)
  └─ ──────────────────────────→ test.blue         → 2 processes on a, b, each its own queue

`)
}

func letter() *queuepb.DeadLetter {
	died := timestamppb.New(noon)
	return &queuepb.DeadLetter{
		Queue: "media.recording", Id: 7, Type: "operation.started", Exchange: "operations", RoutingKey: "operation.started.recording", DeliveryCount: 20,
		DeathTime: died, PublishTime: died, Error: "ffmpeg:\n  moov atom not found", Headers: map[string]string{"kind": "recording"}, Body: `{"operation":"operations/7"}`,
		History: []*queuepb.Failure{{DeliveryCount: 20, Time: died, Host: "worker-7", Error: "ffmpeg:\n  moov atom not found"}},
	}
}

func TestDeadLettersAreListedAndShown(t *testing.T) {
	s := &standIn{letter: letter()}
	q, out := asking(t, s, "unroutable")
	if err := listDeadLetters(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked[0].(*queuepb.ListDeadLettersRequest); asked.Queue != "" || !asked.Unroutable {
		t.Errorf("asked for %v", asked)
	}
	reads(t, out.String(), `
QUEUE            ID  DELIVERIES  DIED                 TYPE               ROUTING KEY                  ERROR
media.recording   7          20  2026-05-04 12:00:00  operation.started  operation.started.recording  ffmpeg: moov atom not found
and older ones: these are the latest 1
`)
	q, out = asking(t, s, "media.recording", "7")
	if err := showDeadLetter(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"header       kind=recording", "error        ffmpeg:\n  moov", "  20  2026-05-04 12:00:00  worker-7  ffmpeg: moov", "{\n  \"operation\": \"operations/7\"\n}"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	q, _ = asking(t, s, "media.recording", "8")
	if err := showDeadLetter(t.Context(), q); err == nil || !strings.Contains(err.Error(), "there is no such dead letter") {
		t.Errorf("another: %v", err)
	}
}

func TestDeadLettersAreRedrivenAndDiscarded(t *testing.T) {
	s := &standIn{}
	q, out := asking(t, s, "media.recording", "7", "8")
	if err := redrive(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked[0].(*queuepb.RedriveDeadLettersRequest); asked.Queue != "media.recording" || len(asked.Ids) != 2 || asked.All {
		t.Errorf("asked for %v", asked)
	}
	reads(t, out.String(), `
1 of media.recording delivered again
1 not there (any more): see "talksctl queue dead-letters media.recording"
`)
	q, out = asking(t, s, "unroutable")
	q.all = true
	if err := discard(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if asked := s.asked[1].(*queuepb.DiscardDeadLettersRequest); asked.Queue != "" || len(asked.Ids) != 0 || !asked.All {
		t.Errorf("asked for %v", asked)
	}
	reads(t, out.String(), "5 of unroutable deleted\n")
}

// A test message is told of until it is settled in each queue.
func TestATestMessageIsFollowed(t *testing.T) {
	binding := &queuepb.Binding{Exchange: "test.fanout", Queue: "test.blue"}
	delivery := func(count int32, outcome string) *queuepb.TestDelivery {
		return &queuepb.TestDelivery{Queue: "test.blue", DeliveryCount: count, Host: "a", Process: "a-1", Outcome: outcome, Time: timestamppb.New(noon)}
	}
	s := &standIn{outcome: []*queuepb.GetTestMessageResponse{
		{},
		{MatchingBindings: []*queuepb.Binding{binding}, Deliveries: []*queuepb.TestDelivery{delivery(1, "failed")}},
		{MatchingBindings: []*queuepb.Binding{binding}, Deliveries: []*queuepb.TestDelivery{delivery(1, "failed"), delivery(2, "failed")}},
		{MatchingBindings: []*queuepb.Binding{binding}, Deliveries: []*queuepb.TestDelivery{delivery(1, "failed"), delivery(2, "failed"), delivery(3, "failed")}},
	}}
	q, out := asking(t, s, "test.fanout")
	q.test = testFlags{key: "k", headers: map[string]string{"a": "b"}, priority: 1 << 40, delay: time.Second, fail: 9, reject: true, text: "Hello"}
	if err := sendTest(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	asked := s.asked[0].(*queuepb.SendTestMessageRequest)
	if asked.RoutingKey != "k" || asked.Headers["a"] != "b" || asked.Priority <= 9 || asked.Delay.AsDuration() != time.Second || asked.FailingDeliveries != 9 || !asked.Reject || asked.Text != "Hello" {
		t.Errorf("asked for %v", asked)
	}
	reads(t, out.String(), `
message 17 is published to test.fanout
  test.fanout → test.blue
12:00:00  test.blue: delivery 1 failed on a (a-1)
12:00:00  test.blue: delivery 2 failed on a (a-1)
12:00:00  test.blue: delivery 3 failed on a (a-1)
`)
}

func TestATestMessageThatNothingMatches(t *testing.T) {
	q, out := asking(t, &standIn{outcome: []*queuepb.GetTestMessageResponse{{}}}, "test.direct")
	if err := sendTest(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "no binding matches it: see \"talksctl queue dead-letters unroutable\"\n") {
		t.Error(out)
	}
}

// What is wrong with a command is said before anybody is asked, with what to do.
func TestQueueCommandsThatMakeNoSense(t *testing.T) {
	t.Setenv("CERTIFICATES", t.TempDir())
	for _, c := range []struct{ words, says string }{
		{"purge", "use dead-letters, discard, redrive, send, show, topology, or nothing"},
		{"show media.recording", "its queue and its id"},
		{"show media.recording 7 8", `"8" is one word too many`},
		{"redrive", "say whose dead letters"},
		{"send", "say to which exchange"},
		{"send test.direct --header nonsense", "write NAME=VALUE"},
		{"send test.direct --delay soon", "delay"},
		{"topology --watch", "flag provided but not defined"},
		{"--watch", "say with --certificates or RUN_DIR"},
		{"send --key a test.direct --text b", "say with --certificates or RUN_DIR"},
	} {
		err := runQueue(t.Context(), strings.Fields(c.words), io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.words, err, c.says)
		}
	}
	for _, c := range []struct {
		words []string
		all   bool
		says  string
	}{
		{[]string{"media.recording"}, false, "--all for every dead letter of media.recording"},
		{[]string{"media.recording", "7"}, true, "either which ids or --all"},
		{[]string{"media.recording", "seven"}, false, `"seven" is no id`},
	} {
		q := &queueAsk{words: c.words, all: c.all}
		if _, err := q.chosen(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.words, err, c.says)
		}
	}
}
